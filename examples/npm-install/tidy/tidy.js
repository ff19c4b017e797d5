#!/usr/bin/env node
console.log("tidy");
