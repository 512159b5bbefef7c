"""The cache of models that were made here: what it returns is what was written, whatever happened to the files."""

import json

import pytest

from recommender.embedding.model_cache import SETTINGS, cached_model

MODEL = bytes(range(256)) * 20


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A model in an empty cache: a call that returns its folder and settings, and how often it was made."""
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    times_made = []

    def make(folder):
        times_made.append(folder)
        (folder / "model.bin").write_bytes(MODEL)
        (folder / "tokenizer.json").write_text('{"model": 1}')
        return {"dimensions": 24}

    return lambda: cached_model("a-model", make, "Converting the model a-model"), times_made


def test_a_model_is_made_once_and_a_message_precedes_it(cached, caplog):
    get, times_made = cached
    (folder, settings), again = get(), get()
    assert again == (folder, settings)
    assert settings["dimensions"] == 24
    assert len(times_made) == 1
    (record,) = caplog.records
    assert record.message.startswith("Converting the model a-model; this takes up to a minute, once.")


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", SETTINGS])
@pytest.mark.parametrize("damage", ["one bit", "noise", "cut short", "longer", "gone", "emptied"])
def test_a_damaged_file_is_noticed_and_the_model_made_again(cached, caplog, name, damage):
    get, times_made = cached
    folder, settings = get()
    file = folder / name
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(
            {
                "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "noise": whole[:5] + bytes(byte ^ 85 for byte in whole[5:4000]) + whole[4000:],
                "cut short": whole[:-1],
                "longer": whole + b"x",
                "emptied": b"",
            }[damage]
        )
    caplog.clear()
    assert get() == (folder, settings)
    assert len(times_made) == 2
    assert file.read_bytes() == whole
    assert f"The cached model in {folder} is damaged and is made again." in caplog.text


@pytest.mark.parametrize(
    "content", ["[]", "5", "{}", '{"crc32": 0, "files": {}}', '{"crc32": 0, "files": {"../x": 1}}']
)
def test_settings_of_another_shape_are_damage(cached, content):
    get, times_made = cached
    folder, settings = get()
    (folder / SETTINGS).write_text(content)
    assert get() == (folder, settings)
    assert len(times_made) == 2


def test_a_changed_setting_is_noticed(cached):
    get, times_made = cached
    folder, settings = get()
    record = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(record | {"dimensions": 25}))
    assert get() == (folder, settings)
    assert len(times_made) == 2
