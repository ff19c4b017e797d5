const char *greeting(int count);
int puts(const char *);

int main(int argc, char **argv)
{
	(void)argv;
	return puts(greeting(argc)) < 0;
}
