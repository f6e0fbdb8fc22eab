"""`make demo`, `make up`, `make down`: the whole product on one machine, against the sandbox."""
