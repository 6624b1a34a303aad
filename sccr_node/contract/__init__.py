"""The contract: the parameters of every command, from which help pages, schemas and forms are all derived."""
