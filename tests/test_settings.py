import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dtda.core.errors import DtdaError
from dtda.core.settings import read_toml, wrong_field


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sizes: list[int] = []

    @model_validator(mode="after")
    def _whole(self):
        if len(self.sizes) == 2:
            raise ValueError("two sizes are one too many")
        return self


def test_a_file_is_read_or_what_is_wrong_is_said(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(DtdaError, match=r"x\.toml: no such file of things\.$"):
        read_toml(path, "no such file of things")
    path.write_text("sizes = [1]")
    assert read_toml(path, "") == {"sizes": [1]}
    for wrong in (b"sizes = ", b"sizes = '\xff'"):
        path.write_bytes(wrong)
        with pytest.raises(DtdaError, match=r"x\.toml: not valid TOML \("):
            read_toml(path, "")


@pytest.mark.parametrize(
    ("values", "hint", "said"),
    [
        ({"sizes": [1, "a"]}, "", "x.toml: sizes.1: Input should be a valid integer"),
        ({"size": 1}, "see y", "x.toml: size: Extra inputs are not permitted; see y."),
        ({"sizes": [1, 2]}, "", "x.toml: two sizes are one too many."),
    ],
)
def test_the_first_wrong_field_is_named(values, hint, said):
    with pytest.raises(ValidationError) as error:
        Wanted.model_validate(values)
    assert str(wrong_field("x.toml", error.value, hint)).startswith(said)
