"""Field names and status words of CMS exports, in the languages that are common there."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

MAX_CACHED_NAMES = 4096


@lru_cache(maxsize=MAX_CACHED_NAMES)
def fold_name(name: str) -> str:
    """Return a name without case, accents, spaces and punctuation: "veroffentlichtam" for "Veröffentlicht am"."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[\W_]+", "", plain.casefold())


def _words(*lines: str) -> frozenset[str]:
    """Return the folded words of lines of comma-separated words."""
    return frozenset(fold_name(word) for line in lines for word in line.split(","))


# Fields for a status. The ambiguous ones are as often a region or a condition, so unknown values are no problem.
STATUS_FIELDS = _words(
    "status, post status, publish status, publishing status, publication status, article status, moderation state",
    "workflow state, statut, veröffentlichungsstatus, publikationsstatus, статус, ステータス, 状态, 상태",
)
AMBIGUOUS_STATUS_FIELDS = _words(
    "state, zustand, état, estado, situação, stato, toestand, tila, stan, stav, durum, 状態"
)
# Fields that are true or a date for a deleted article: soft deletes of Laravel and Rails.
DELETION_FIELDS = _words(
    "deleted, is deleted, deleted at, deleted on, deleted date, date deleted, deletion date, trashed, trashed at",
    "discarded at, gelöscht, gelöscht am, supprimé, supprimé le, eliminado, excluído, eliminato, verwijderd",
)
# Fields that are true for an unpublished article, and for a published one.
UNPUBLISHED_FLAGS = _words(
    "draft, is draft, unpublished, hidden, is hidden, entwurf, ist entwurf, brouillon, borrador, rascunho, bozza",
    "private, is private, headless, trash, in trash, is trashed",
    "concept, utkast, kladde, kladd, luonnos, szkic, koncept, vázlat, ciornă, taslak, черновик, чернетка",
    "πρόχειρο, 下書き, 草稿, 초안",
)
PUBLISHED_FLAGS = _words(
    "publish, published, is published, is live, enabled, status, visible, is visible, public, is public",
    "sichtbar, ist sichtbar, visível, visibile, zichtbaar, synlig, widoczny, viditelný, видимый, 表示",
    "veröffentlicht, publiziert, publié, publicado, pubblicato, gepubliceerd, publicerad, publiceret, udgivet",
    "publisert, julkaistu, opublikowany, opublikowane, publikováno, közzétéve, publicat, yayınlandı, опубликовано",
    "опубліковано, 公開, 已发布, 게시됨",
)
# Fields with the date from which an article is not published any more.
EXPIRY_FIELDS = _words(
    "expiry date, expires, expires at, expires on, expiration date, expired at, unpublish date, unpublish on",
    "unpublish at, publish down, ablaufdatum, date d'expiration, fecha de caducidad, data de expiração",
)
# Fields with the date before which an article is not published.
SCHEDULE_FIELDS = _words(
    "publish date, publish at, publish on, publish up, scheduled at, scheduled for, scheduled date, embargo",
    "embargo until, embargo date, available from, go live date, live at",
)
PASSWORD_FIELDS = _words("password, post password, passwort, is protected, password protected")
VISIBILITY_FIELDS = _words("visibility, sichtbarkeit, visibilité, visibilidad, visibilidade, visibilità")
HIDDEN = _words("private, hidden, unlisted, draft, internal, password, protected, none, privat, privé, privado")
# Fields with the kind of a record, and kinds that are no articles; the ambiguous ones may be an archive's own.
KIND_FIELDS = _words("post type, content type, entry type, record type")
AMBIGUOUS_KIND_FIELDS = _words("type, kind, _type")
NOT_ARTICLES = _words(
    "attachment, revision, nav menu item, custom css, customize changeset, oembed cache, user request, wp block",
    "wp template, wp template part, wp global styles, wp navigation, wp font family, wp font face, acf field",
    "acf field group, comment, pingback, trackback",
)
AMBIGUOUS_NOT_ARTICLES = _words("template, setting, settings, redirect, menu, media")

# Numbers of Joomla and Drupal: 0 is unpublished, -2 in the trash.
UNPUBLISHED_NUMBERS = frozenset({"0", "-2"})
UNPUBLISHED = _words(
    "draft, auto draft, drafted, pending, pending review, review, in review, needs review, private, trash, trashed",
    "deleted, unpublished, not published, archived, inactive, disabled, hidden, expired, withdrawn, retracted",
    "rejected, spam, inherit, wip, work in progress, in progress, not started, to do, todo, idea",
    "ready for review, skip, protected",
    # German
    "entwurf, im entwurf, in bearbeitung, in arbeit, in prüfung, zur prüfung, ausstehend, privat, nicht öffentlich",
    "papierkorb, im papierkorb, gelöscht, unveröffentlicht, nicht veröffentlicht, archiviert, inaktiv, deaktiviert",
    "gesperrt, versteckt, verborgen, abgelehnt, zurückgezogen, abgelaufen",
    # French
    "brouillon, en attente, en attente de relecture, en relecture, à relire, en cours, privé, corbeille, supprimé",
    "non publié, dépublié, archivé, inactif, désactivé, masqué, caché, rejeté, refusé, retiré, expiré",
    # Spanish
    "borrador, pendiente, pendiente de revisión, en revisión, privado, papelera, eliminado, borrado, no publicado",
    "despublicado, sin publicar, archivado, inactivo, desactivado, oculto, rechazado, retirado, caducado",
    # Portuguese
    "rascunho, pendente, em revisão, revisão pendente, lixo, lixeira, excluído, apagado, não publicado, arquivado",
    "inativo, inactivo, desativado, rejeitado, expirado",
    # Italian
    "bozza, in attesa, in attesa di revisione, in revisione, privato, cestino, nel cestino, eliminato, cancellato",
    "non pubblicato, archiviato, inattivo, disattivato, nascosto, rifiutato, ritirato, scaduto",
    # Dutch
    "concept, in afwachting, wachtend op beoordeling, in behandeling, privé, prullenbak, verwijderd",
    "niet gepubliceerd, ongepubliceerd, gearchiveerd, inactief, uitgeschakeld, verborgen, afgewezen, verlopen",
    # Swedish, Danish, Norwegian, Finnish
    "utkast, väntande, inväntar granskning, papperskorgen, raderad, opublicerad, avpublicerad, arkiverad, inaktiv",
    "dold, kladde, afventer, papirkurv, slettet, upubliceret, arkiveret, skjult, kladd, venter, upublisert",
    "avpublisert",
    "arkivert, luonnos, odottaa, yksityinen, roskakori, poistettu, julkaisematon, arkistoitu, piilotettu",
    # Polish, Czech, Slovak, Hungarian, Romanian
    "szkic, wersja robocza, oczekujący, oczekuje, prywatny, kosz, usunięty, nieopublikowany, zarchiwizowany, ukryty",
    "koncept, návrh, čeká na schválení, soukromý, koš, smazaný, smazáno, nepublikovaný, nepublikováno, archivováno",
    "vázlat, piszkozat, függőben, privát, kuka, törölt, ciornă, în așteptare, coș, șters, nepublicat, arhivat",
    # Turkish, Greek, Russian, Ukrainian
    "taslak, beklemede, özel, çöp, silindi, yayınlanmadı, arşivlendi, πρόχειρο, σε αναμονή, κάδος",
    "черновик, на утверждении, на модерации, личное, корзина, удалено, не опубликовано, снято с публикации, в архиве",
    "скрыто, чернетка, очікує, кошик, видалено, не опубліковано",
    # Japanese, Chinese, Korean, Indonesian, Vietnamese
    "下書き, レビュー待ち, 承認待ち, 非公開, ゴミ箱, 削除済み, 草稿, 待审, 待审核, 私密, 回收站, 已删除",
    "未发布, 초안, 임시글",
    "임시 저장, 비공개, 휴지통, 검토 중, draf, konsep, bản nháp, chờ duyệt",
)
SCHEDULED = _words(
    "future, scheduled, geplant, terminiert, planifié, programmé, programado, agendado, programmato, pianificato",
    "gepland, ingepland, schemalagd, planlagt, ajastettu, zaplanowany, zaplanowano, naplánováno, naplánovaný",
    "időzített",
    "programat, zamanlandı, запланировано, заплановано, 予約済み, 予約, 定时, 定时发布, 예약됨, 예약",
)
PUBLISHED = _words(
    "publish, published, live, public, active, online, enabled, visible, approved, released, final, featured, sent",
    "done, completed, complete",
    "1, true, yes, on",
    "veröffentlicht, publiziert, öffentlich, freigegeben, aktiv, sichtbar, ja, publié, publique, en ligne, actif, oui",
    "publicado, público, activo, en línea, sí, ativo, sim, pubblicato, pubblico, attivo, sì, gepubliceerd, actief",
    "publicerad, offentlig, publiceret, udgivet, publisert, julkaistu, julkinen, opublikowany, opublikowano, publiczny",
    "publikováno, publikovaný, veřejný, közzétéve, publicat, yayınlandı, yayında, δημοσιευμένο, опубликовано",
    "опубліковано, 公開, 公開済み, 公开, 已发布, 게시됨, 공개, diterbitkan, terbit, đã xuất bản",
)

# Export names for each field of Article, the likeliest first.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    field: tuple(fold_name(name) for line in lines for name in line.split(","))
    for field, lines in {
        "id": (
            "id, oid, nr, no, number, nummer, post id, article id, artikel id, artikelnr, artikelnummer, beitrags id",
            "node id, nid, page id, entry id, item id, content id, document id, doc id, record id, object id, story id",
            "external id, identifier, numéro, número, numero, uid, uuid, guid, key, pk, slug, post name, handle, alias",
            "permalink, link, uri",
        ),
        "title": (
            "title, headline, heading, header, post title, article title, display title, titel, überschrift",
            "ueberschrift, schlagzeile, titre, título, titolo, rubrik, rubriek, kop, otsikko, overskrift",
            "tytuł, nadpis",
            "název, cím, titlu, başlık, τίτλος, заголовок, タイトル, 標題, 标题, 제목, judul, tiêu đề, name, subject",
            "betreff, nombre, nom, nome, seo title, meta title",
        ),
        "text": (
            "text, body, content, html, body html, content html, body text, post content, article body",
            "full text, story",
            "copy, main, plain text, plaintext, content text, markdown, body markdown, volltext, fließtext, inhalt",
            "textkörper, texte, contenu, corps, contenido, cuerpo, texto, conteúdo, corpo, testo, contenuto, tekst",
            "inhoud, innehåll, brödtext, indhold, innhold, sisältö, treść, obsah, tartalom, szöveg, conținut",
            "içerik, metin",
            "κείμενο, текст, содержание, зміст, 本文, 内容, 正文, 본문, 내용, isi, konten, nội dung, description",
            "beschreibung, descripción, descrição, descrizione, message, abstract, summary, excerpt, teaser",
        ),
        "url": (
            "url, permalink, link, href, canonical, canonical url, web url, page url, article url, post url",
            "full url, loc",
            "uri, adresse, lien, enlace, ссылка, 链接",
        ),
        "published": (
            "published, published at, publish date, published date, publication date, published on, pub date, pubdate",
            "date published, post date gmt, post date, date gmt, date, datum, veröffentlicht am",
            "veröffentlichungsdatum",
            "erschienen, erscheinungsdatum, date de publication, publié le, fecha, fecha de publicación",
            "data de publicação, data publicação, data di pubblicazione, publicatiedatum, publiceringsdatum, data",
            "data publikacji, päivämäärä, dátum, tarih, дата, 日付, 公開日, 日期, 发布时间, 날짜",
            "first published, issued",
            "created, created at, created on, creation date, date created, erstellt, erstellt am, timestamp",
            "veröffentlicht",
        ),
        "section": (
            "section, category, category name, primary category, rubrik, ressort, kategorie, rubrique",
            "catégorie, sección",
            "categoría, seção, categoria, sezione, rubriek, categorie, kategori, osasto, dział, kategoria",
            "раздел, рубрика",
            "カテゴリ, カテゴリー, 分类, 카테고리, channel, desk",
        ),
        "tags": (
            "tags, keywords, tag list, tag names, tag, schlagwörter, schlagworte, stichwörter, mots clés, étiquettes",
            "etiquetas, palabras clave, palavras chave, parole chiave, trefwoorden, nyckelord, emneord, avainsanat",
            "słowa kluczowe, klíčová slova, метки, теги, ключевые слова, タグ, 标签, 태그, labels, topics",
        ),
        "language": (
            "language, lang, locale, sprache, langue, idioma, lingua, taal, språk, sprog, kieli, język, язык",
        ),
    }.items()
}
_VALUE_NAMES = _words("rendered, value, raw, html, text, oid, #text, _text, __cdata, current, processed, default")
_FOREIGN_ID = re.compile(
    r"(author|user|category|parent|image|media|section|site|blog|owner|editor|creator|type|tag)s?_?id"
)


def suggest_fields(names: Iterable[str], missing_fields: Iterable[str]) -> dict[str, str]:
    """Suggest a field of the source for each missing field of Article.

    Args:
        names: names of the source's fields, with dots for nested ones: "title.rendered".
        missing_fields: the fields of Article to suggest names for.

    Returns:
        Names of source fields by field of Article; a name occurs at most twice, and twice only for the url.
    """
    name_of_form: dict[str, str] = {}  # source names by folded name; the first wins
    for name in names:
        parts = name.split(".")
        if len(parts) > 1 and fold_name(parts[-1]) in _VALUE_NAMES:
            parts = parts[:-1]
        if name.casefold() not in _SYNONYMS:  # others need no mapping
            name_of_form.setdefault(fold_name(parts[-1]), name)
    suggested: dict[str, str] = {}
    for field in missing_fields:
        candidates = [name_of_form[form] for form in _SYNONYMS.get(field, ()) if form in name_of_form]
        if field == "id" and not candidates:
            candidates = [
                name
                for form, name in name_of_form.items()
                if form.endswith(("id", "nr")) and not _FOREIGN_ID.search(form)
            ]
        if candidates := [name for name in candidates if name not in suggested.values() or field == "url"]:
            suggested[field] = candidates[0]
    return suggested
