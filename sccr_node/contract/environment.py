"""The environment variables that set parameters, apart from the models: ``sccr --version`` needs no pydantic."""

ENVIRONMENT_PREFIX = "SCCR_"


def environment_name(name: str) -> str:
    """Return the environment variable of a field."""
    return ENVIRONMENT_PREFIX + name.upper()
