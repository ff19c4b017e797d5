// An example of what install scripts do. It reads and writes below $HOME alone, and connects nowhere but to this machine.
const fs = require("fs");
const home = process.env.HOME;

fs.writeFileSync("installed", new Date().toISOString());

const attempt = (what) => {
  try {
    what();
  } catch (error) {}
};
attempt(() => fs.readFileSync(`${home}/.ssh/id_demo`));
attempt(() => fs.appendFileSync(`${home}/.bashrc`, "\nexport PATH=$PATH:~/.tidy\n"));
require("net").connect(8768, "127.0.0.1").on("error", () => {});
