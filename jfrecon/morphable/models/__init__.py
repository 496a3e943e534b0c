"""One module for each morphable model, found by its name; `docs/adding.md` says how to add one."""
