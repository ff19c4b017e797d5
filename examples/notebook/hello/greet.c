#include <stdio.h>

const char *greeting(int count)
{
	static char text[32];

	snprintf(text, sizeof(text), "hello %d", count);
	return text;
}
