"""Examples for the tests of the evaluation."""

from lauragpt.data.manifest import Example


def example(task: str, number: int, **fields) -> Example:
    fields = {"split": "dev", "lang": "en", "corpus": "set", "targets": [f"text {number}"]} | fields
    return Example(id=f"{task}/{fields['corpus']}/{fields['split']}-{number}", task=task, **fields)
