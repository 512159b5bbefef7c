"""Consent banners are not part of an article, and an article about biscuits is no banner."""

import pytest

from recommender.sources import Source

BANNER = (
    "<p>We value your privacy. We and 214 partners use cookies to store information on your device, to measure "
    "how our pages are read and to show advertising that fits.</p><p>Change your choice at any time in the settings "
    "at the end of every page. Details stand in our privacy policy.</p><button>Accept all</button>"
)
ARTICLE = "<article><h1>The gate is shut</h1><p>The gate is shut until Friday.</p></article>"
BANNERS = {
    "name": f'<div id="cookie-consent" class="cc-banner">{BANNER}</div>',
    "vendor": f'<div id="onetrust-consent-sdk"><div class="ot-sdk-container">{BANNER}</div></div>',
    "dialog": f'<div role="dialog" aria-modal="true">{BANNER}</div>',
    "element": f"<dialog open>{BANNER}</dialog>",
    "no name": f"<div class='x1'>{BANNER}</div>",
    "German": "<section class='datenschutz'><p>Wir verwenden auf dieser Seite Cookies, um zu zählen, wie oft sie "
    "gelesen wird, und um Werbung zu zeigen, die passt.</p><button>Alle akzeptieren</button></section>",
    "French": "<div class='bandeau rgpd'><p>Nous utilisons des cookies pour mesurer l'audience de nos pages et pour "
    "vous montrer des annonces.</p><button>Tout accepter</button></div>",
}


def read(tmp_path, body):
    menu = "<header><nav><a href='/'>Home</a> <a href='/news/'>News</a></nav></header>"
    html = f"<html><head><title>The gate is shut</title></head><body>{menu}{body}<footer>Imprint</footer></body></html>"
    (tmp_path / "a.html").write_text(html)
    (entry,) = Source(tmp_path / "a.html")
    return entry.article


@pytest.mark.parametrize("name", BANNERS)
@pytest.mark.parametrize("before", [True, False])
def test_a_short_article_beside_a_consent_banner_is_read_alone(tmp_path, name, before):
    parts = [BANNERS[name] * 3, ARTICLE]
    article = read(tmp_path, "".join(parts if before else parts[::-1]))
    assert article.title == "The gate is shut"
    assert article.text == "The gate is shut until Friday."


@pytest.mark.parametrize(
    "body",
    [
        "<article class='cookie-recipes'><h1>Oat cookies</h1><p>Butter and oats. TEXT</p></article>",
        "<div class='cookie'><p>My cookies settings are 180 degrees, and they accept no sugar. TEXT</p></div>",
        "<main><h1>How sites ask</h1><div class='privacy'><p>Sites use cookies. TEXT</p></div></main>",
        "<div class='privacy-page'><h1>Privacy</h1><p>We use cookies to count visits. TEXT</p></div>",
    ],
)
def test_an_article_on_cookies_stays(tmp_path, body):
    text = (
        "The baker of the old town has sold them since the flood, and half of the street smells of them in the morning."
    )
    assert text in read(tmp_path, body.replace("TEXT", text)).text
