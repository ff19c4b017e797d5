"""A package, so that no installed one of that name is taken for it: there are projects that install theirs."""
