import pytest

from recommender.text.language import detect_language, language_code, language_of

TEXTS = {
    "en": "The government shut the gates of the river dam yesterday despite protests from people who live below it.",
    "de": "Die Regierung hat gestern trotz der Proteste der Anwohner die Tore des Staudamms am Fluss geschlossen.",
    "fr": "Le gouvernement a fermé hier les vannes du barrage malgré les protestations des habitants de la vallée.",
    "es": "El gobierno cerró ayer las compuertas de la presa a pesar de las protestas de los vecinos del valle.",
    "ru": "Правительство вчера закрыло ворота речной плотины, несмотря на протесты жителей долины.",
    "zh": "尽管居民抗议，政府昨天还是关闭了河上大坝的闸门。谈判将于下周在首都继续进行。",
    "ja": "政府は住民の抗議にもかかわらず、昨日川のダムの水門を閉じた。交渉は来週首都で続けられる。",
    "th": "รัฐบาลปิดประตูเขื่อนเมื่อวานนี้ แม้ว่าชาวบ้านจะประท้วงก็ตาม การเจรจาจะดำเนินต่อไปในสัปดาห์หน้า",
}


@pytest.mark.parametrize("code", TEXTS)
def test_the_language_of_a_text_is_detected(code):
    assert detect_language(TEXTS[code]) == code


@pytest.mark.parametrize(
    "text", ["", "   ", "1234", "x", "int main(void)", "_mbcjistojms, _mbcjistojms_l, _mbcjmstojis"]
)
def test_an_uncertain_text_has_no_language(text):
    assert detect_language(text) is None


def test_foreign_names_at_the_head_do_not_make_a_text_foreign():
    text = (
        "DEUTSCHE BABCOCK AG SEES HIGHER PROFITS  Deutsche Babcock AG, Hoechst AG and Dresdner Bank AG " + TEXTS["en"]
    )
    assert detect_language(text) in ("en", None)
    assert detect_language(text.upper()) in ("en", None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("en-US", "en"),
        ("EN_gb", "en"),
        ("eng", "en"),
        ("zh-Hant-TW", "zh"),
        ("iw", "he"),
        ("", None),
        ("und", None),
        ("null", None),
        ("zxx", None),
        ("x-klingon", None),
        ("en_US.UTF-8", None),
        ("English language", None),
        (None, None),
    ],
)
def test_tags_are_read_in_the_formats_of_sources(said, code):
    assert language_code(said) == code


def test_the_language_of_the_source_precedes_that_of_the_text():
    assert language_of("t", TEXTS["en"], "fr-CA") == "fr"
    assert language_of("t", TEXTS["de"], "no such thing") == "de"
