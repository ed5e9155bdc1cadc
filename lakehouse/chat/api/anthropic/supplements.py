"""Citations and images of an answer in Anthropic's form: citations of its text blocks, and text in place of images.

Citations of a provider of the same form are as they came. A citation of any other has an empty `encrypted_index`, which
only Anthropic could make; `dialects/messages/own_document.py` removes such citations when they are sent back.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string

POSITION = ("start_index", "end_index")
"""Where an annotation stands in the whole text; a citation belongs to its block."""


def make_citations(annotations: Sequence[JsonObject]) -> list[JsonObject]:
    """The citations that annotations tell of. One that names neither an address nor a place in a document of the
    request is left out."""
    return [citation for citation in map(_make_citation, annotations) if citation]


def _make_citation(annotation: JsonObject) -> JsonObject:
    kind = as_string(annotation.get("type"))
    fields = {name: value for name, value in as_object(annotation.get(kind)).items() if name not in POSITION}
    if kind.endswith("_location"):
        return {"type": kind, **fields}
    url = as_string(fields.pop("url", None))
    if kind != "url_citation" or not url:
        return {}
    title, content = fields.pop("title", None), fields.pop("content", None)
    cited = {"cited_text": as_string(content), **fields, "title": as_string(title) or url}
    if "search_result_index" in fields:
        return {"type": "search_result_location", "source": url, **cited}
    return {"type": "web_search_result_location", "url": url, "encrypted_index": "", **cited}


def describe_image(image: JsonObject) -> str:
    """The text in place of an image: a link, or what is left out, because answers of this form hold no images."""
    url = as_string(as_object(image.get("image_url")).get("url"))
    if not url.startswith("data:"):
        return f"![image]({url})"
    return f"[an image ({url[5:].partition(';')[0]}) was left out: answers of this form hold no images]"
