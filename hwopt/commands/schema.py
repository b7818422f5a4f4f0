"""`hwopt schema`: the JSON schema of experiment files."""


def schema() -> None:
    """Print the JSON schema of experiment files, with which editors complete and check them.

    Refer to it in the first line of an experiment: "#:schema ./hwopt.schema.json".

    Example: hwopt schema > hwopt.schema.json
    """
    from hwopt.study.experiment.templates import schema_path

    print(schema_path().read_text(encoding="utf-8"), end="")
