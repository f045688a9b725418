import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from guarismo.language import Language
from guarismo.results.html import environment, isolated, picture, render, shrunk, sprite, webp, with_options


def filled(*values, side=8, channels=1):
    """One image per value, each all of that grey."""
    return np.stack([np.full((side, side, channels), value, dtype=np.uint8) for value in values])


def decoded(uri):
    """The picture in a data URI, uint8 (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))


def tile_at(found, position, side):
    """The image that CSS shows of a sprite at a background-position in percent."""
    whole = decoded(found.uri)
    across, down = (float(part.rstrip("%")) / 100 for part in found.place(position).split())
    x, y = round(across * (whole.shape[1] - side)), round(down * (whole.shape[0] - side))
    return whole[y : y + side, x : x + side]


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_each_image_of_a_sprite_is_where_css_will_look_for_it(count):
    values = [20 * (k + 1) for k in range(count)]
    found = sprite(filled(*values))
    assert [tile_at(found, k, 8).mean() for k in range(count)] == values
    assert found.extent == f"{100 * found.columns}% {100 * found.rows}%"


def test_oblong_images_keep_their_shape_in_a_sprite():
    found = sprite(np.zeros((3, 8, 32, 1), dtype=np.uint8))
    assert found.aspect == 4
    assert found.columns == 1 and found.rows == 3


def test_large_images_are_shrunk_and_small_ones_left():
    assert shrunk(filled(9, side=100)[0], 48).shape == (48, 48, 1)
    assert shrunk(filled(9, side=28)[0], 48).shape == (28, 28, 1)


def test_a_sprite_of_noise_gives_up_exactness_to_stay_small():
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 48, 3), dtype=np.uint8)
    assert len(sprite(noise).uri) < len(webp(noise.reshape(-1, 48, 3))) / 2
    exact = np.concatenate([tile_at(sprite(noise[:4], most_bytes=10**6), k, 48) for k in range(4)])
    assert (exact == noise[:4].reshape(-1, 48, 3)).all()


def test_a_picture_carries_its_words():
    assert picture(filled(0)[0], "all black").words == "all black"
    assert picture(filled(0)[0], "").uri.startswith("data:image/png;base64,")


def test_every_value_is_escaped():
    page = render("page.html.j2", title="<script>x</script>")
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert page.count("<script>") == 1


def test_a_misspelt_value_is_no_empty_page():
    with pytest.raises(Exception, match="'title' is undefined"):
        render("page.html.j2")


def test_numbers_in_a_template_are_those_of_the_language():
    template = environment(Language("es")).from_string("{{ 0.125|percent }} {{ 12345|count }} {{ 0.5|decimal(3) }}")
    assert re.sub(r"\s", " ", template.render()) == "12,50 % 12.345 0,500"


def test_a_name_from_right_to_left_does_not_turn_its_sentence():
    assert isolated("سبعة") == "\u2068سبعة\u2069"
    assert isolated("شمال 7") == "\u2068شمال 7\u2069"
    assert isolated("seven") == "seven"


def test_options_of_the_command_line_are_code_and_the_rest_is_escaped():
    assert with_options("<b> --zoom 0.1, --shift") == "&lt;b&gt; <code>--zoom</code> 0.1, <code>--shift</code>"
