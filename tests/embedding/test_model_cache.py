"""The cache of derived models returns intact files, whatever happened to them on disk."""

import json

import pytest

from recommender.embedding.model_cache import SETTINGS, cached_model

MODEL = bytes(range(256)) * 20


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A function that returns a model of an empty cache, and the list of the folders that it was created in."""
    monkeypatch.setenv("RECOMMENDER_CACHE", str(tmp_path / "cache"))
    created = []

    def make(folder):
        created.append(folder)
        (folder / "model.bin").write_bytes(MODEL)
        (folder / "tokenizer.json").write_text('{"model": 1}')
        return {"dimensions": 24}

    return lambda: cached_model("a-model", make, "Converting the model a-model"), created


def test_a_model_is_created_once_after_a_message(cached, caplog):
    get, created = cached
    folder, settings = get()
    assert get() == (folder, settings)
    assert settings["dimensions"] == 24
    assert len(created) == 1
    (record,) = caplog.records
    assert record.message.startswith("Converting the model a-model; this takes up to a minute, once.")


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", SETTINGS])
@pytest.mark.parametrize("damage", ["one bit", "noise", "cut short", "longer", "gone", "emptied"])
def test_a_model_with_a_damaged_file_is_created_again(cached, caplog, name, damage):
    get, created = cached
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
    assert len(created) == 2
    assert file.read_bytes() == whole
    assert f"The cached model in {folder} is damaged and is made again." in caplog.text


@pytest.mark.parametrize(
    "content", ["[]", "5", "{}", '{"crc32": 0, "files": {}}', '{"crc32": 0, "files": {"../x": 1}}']
)
def test_invalid_settings_count_as_damage(cached, content):
    get, created = cached
    folder, settings = get()
    (folder / SETTINGS).write_text(content)
    assert get() == (folder, settings)
    assert len(created) == 2


def test_a_changed_setting_counts_as_damage(cached):
    get, created = cached
    folder, settings = get()
    record = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(record | {"dimensions": 25}))
    assert get() == (folder, settings)
    assert len(created) == 2
