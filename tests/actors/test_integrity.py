"""Each sign is found in a cheat, and in nothing that an honest candidate draws; the margins are in the numbers."""

import io
import math
import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from actors import integrity
from actors.image_statistics import look, similarity
from actors.integrity import ImageWatch, score_too_good
from actors.messages import REJECTING, Batch, Sign
from training.render import Renderer
from training.world import Dice, SceneSource

COUNT = 8
PROMPTS = tuple(f"a small red circle to the left of a large blue square, number {place}" for place in range(COUNT))


def noisy(images, seed=0, levels=1):
    noise = np.random.default_rng(seed).integers(-levels, levels + 1, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


@cache
def shapes(seed=8):
    """Pictures of the embedded world, with the grain that a decoder leaves: (COUNT, 64, 64, 3)."""
    pictures = Renderer(Dice(seed=seed)).render(SceneSource(Dice(seed=7)).held_out(COUNT))
    images = noisy((pictures * 255).round().byte().permute(0, 2, 3, 1).numpy(), seed)
    images.flags.writeable = False
    return images


@cache
def photo(seed, side=128, slope=1.0):
    """1/f noise, whose spectrum is that of photographs: amplitude falls with frequency to the power `slope`."""
    dice = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = 1
    channels = [np.fft.ifft2(np.fft.fft2(dice.normal(size=(side, side))) / frequency**slope).real for _ in range(3)]
    return np.stack([(c / c.std() * 45 + 128).clip(0, 255) for c in channels], 2).astype(np.uint8)


@cache
def photos(seed=0, slope=1.0):
    images = np.stack([photo(seed * COUNT + place, slope=slope) for place in range(COUNT)])
    images.flags.writeable = False  # they are kept, and the next test gets them, too
    return images


def each(images, change):
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def stretched(images, kernel, factor=2):
    def change(image):
        small = image.resize((int(image.width / factor), int(image.height / factor)), Image.Resampling.BOX)
        return small.resize(image.size, kernel)

    return each(images, change)


def written(images, colour="white", size=10, ground=None):
    def change(image):
        image = Image.new("RGB", image.size, ground) if ground else image.copy()
        text = "a small red\ncircle to the\nleft of a\nlarge blue\nsquare"
        ImageDraw.Draw(image).multiline_text((1, 0), text, fill=colour, font=ImageFont.load_default(size), spacing=1)
        return image

    return each(images, change)


def jpeg(images, quality=75):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return each(images, change)


def blurred(images, radius):
    return each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def watched(baseline, candidate, prompts=PROMPTS):
    """In two batches, so that what is found goes across them."""
    watch, half = ImageWatch(), len(baseline) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        seeds = tuple(range(len(baseline)))[part]
        watch.add(Batch(prompts[part], seeds), number, baseline[part], candidate[part])
    return watch


def signs(watch):
    return {finding.sign for finding in watch.findings()}


@pytest.mark.parametrize("draw", [shapes, photos], ids=["shapes", "photos"])
class TestHonest:
    @pytest.mark.parametrize(
        "change",
        [
            lambda images: images,
            lambda images: noisy(images, levels=3),
            lambda images: blurred(images, 0.5),
            lambda images: jpeg(images, 75),
            lambda images: (images // 2 + 50).astype(np.uint8),
        ],
        ids=["the same", "rounding noise", "slight blur", "jpeg", "less contrast"],
    )
    def test_a_slight_change_is_no_sign(self, draw, change):
        images = draw()
        watch = watched(images, change(images))
        watch.repeated(images, noisy(images, levels=3))
        assert signs(watch) == set()

    def test_noise_of_its_own_is_not_rejected(self, draw):
        assert not signs(watched(draw(1), draw(2))) & REJECTING

    @pytest.mark.parametrize("cheat", [lambda i: stretched(i, Image.Resampling.BICUBIC), written, lambda i: i * 0 + 9])
    def test_what_the_baseline_shows_too_is_no_sign(self, draw, cheat):
        images = cheat(draw()).astype(np.uint8)
        assert not signs(watched(images, noisy(images, levels=1))) & REJECTING


def test_detail_of_one_picture_in_eight_is_chance():
    baseline = photos()
    candidate = baseline.copy()
    candidate[3:4] = stretched(baseline[3:4], Image.Resampling.BILINEAR)
    watch = watched(baseline, candidate)
    assert sum(Sign.UPSCALED in image.signs for image in watch._seen) == 1
    assert signs(watch) == set()


def test_a_sign_that_the_baseline_shows_as_often_the_other_way_round_is_no_finding():
    baseline, candidate = photos().copy(), photos().copy()
    baseline[::2] = stretched(baseline[::2], Image.Resampling.BILINEAR)
    candidate[1::2] = stretched(candidate[1::2], Image.Resampling.BILINEAR)
    watch = watched(baseline, candidate)
    assert sum(Sign.UPSCALED in image.signs for image in watch._seen) == 4
    assert Sign.UPSCALED not in signs(watch)


@pytest.mark.parametrize("kernel", ["NEAREST", "BOX", "BILINEAR", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("factor", [2, 2.5, 4])
def test_a_stretched_photo_is_found(kernel, factor):
    baseline = photos()
    watch = watched(baseline, stretched(baseline, Image.Resampling[kernel], factor))
    assert signs(watch) == {Sign.UPSCALED}


@pytest.mark.parametrize("kernel", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_a_stretched_shape_is_found(kernel):
    baseline = shapes()
    assert Sign.UPSCALED in signs(watched(baseline, stretched(baseline, Image.Resampling[kernel])))


def test_margin_between_a_blur_and_a_stretched_photo():
    base = look(photo(0))
    for change, least, most in (
        (lambda i: blurred(i, 0.5), 4 * integrity.DETAIL_LEFT, 1),
        (lambda i: stretched(i, Image.Resampling.BILINEAR), 0, integrity.DETAIL_LEFT / 4),
        (lambda i: stretched(i, Image.Resampling.BICUBIC), 0, integrity.DETAIL_LEFT / 4),
    ):
        left = max(np.divide(look(change(photo(0)[None])[0]).detail, base.detail))
        assert least <= left <= most


def test_a_shapeless_picture_is_not_called_stretched():
    baseline = photos()
    assert signs(watched(baseline, blurred(baseline, 12))) & {Sign.UPSCALED} == set()


@pytest.mark.parametrize("flat", [lambda i: i * 0, lambda i: i * 0 + 128, lambda i: noisy(i * 0 + 128, levels=2)])
@pytest.mark.parametrize("draw", [shapes, photos], ids=["shapes", "photos"])
def test_flat_images_are_blank(draw, flat):
    images = draw()
    watch = watched(images, flat(images).astype(np.uint8))
    assert Sign.BLANK_IMAGE in signs(watch)
    assert Sign.UPSCALED not in signs(watch)


@pytest.mark.parametrize("change", [lambda i: i, lambda i: noisy(i, levels=2), lambda i: jpeg(i, 75)])
@pytest.mark.parametrize("draw", [shapes, photos], ids=["shapes", "photos"])
def test_one_image_for_two_requests_is_found_across_batches(draw, change):
    images = draw()
    candidate = images.copy()
    candidate[-1:] = change(images[:1])
    watch = watched(images, candidate)
    assert signs(watch) == {Sign.DUPLICATE_IMAGES}
    assert "batch 1, image 3" in watch.findings()[0].evidence
    assert "batch 0, image 0" in watch.findings()[0].evidence


def test_the_same_request_twice_may_have_the_same_image():
    images, watch = shapes(), ImageWatch()
    for number, baseline in enumerate((images, shapes(9))):  # also of a baseline that does not repeat itself
        watch.add(Batch(PROMPTS, tuple(range(COUNT))), number, baseline, images)
    assert Sign.DUPLICATE_IMAGES not in signs(watch)


@pytest.mark.parametrize("ground", [None, "gray"])
@pytest.mark.parametrize(("draw", "size"), [(shapes, 10), (photos, 10), (photos, 20)])
def test_a_written_prompt_is_found(draw, size, ground):
    images = draw() if draw is shapes else draw(slope=1.3)  # rougher ground is as full of strokes as print itself
    assert Sign.PAINTED_TEXT in signs(watched(images, written(images, "yellow", size, ground)))


def test_shapes_stripes_and_textures_are_no_writing():
    assert max(look(image).strokes for image in shapes()) == 0
    assert look(photo(0, slope=0.7)).writing == 0  # as dense as print, but not of one colour
    stripes = np.tile(np.where(np.arange(128) % 8 < 2, 255, 0).astype(np.uint8)[:, None, None], (1, 128, 3))
    candidate = np.stack([np.roll(stripes, place, 0) for place in range(COUNT)])
    baseline = np.stack([stripes] * COUNT)
    assert look(stripes).writing > integrity.WRITING
    found = ImageWatch().add(Batch(PROMPTS, tuple(range(COUNT))), 0, baseline, candidate)
    assert not any(Sign.PAINTED_TEXT in image for image in found)


def test_another_image_for_the_same_request_is_not_repeatable():
    images = shapes()
    watch = watched(images, images)
    watch.repeated(images, shapes(9))
    assert signs(watch) == {Sign.NOT_REPEATABLE}


def test_the_same_images_for_other_seeds():
    images = shapes()
    watch = watched(images, images)
    watch.reseeded(images, noisy(images, levels=2))
    assert signs(watch) == {Sign.SEED_IGNORED}
    other = watched(images, images)
    other.reseeded(images, shapes(9))
    assert signs(other) == set()


def test_images_of_other_prompts_are_unlike_the_baseline():
    images = photos()
    assert signs(watched(images, np.roll(images, 1, 0))) == {Sign.UNLIKE_BASELINE}
    few = images[:4]
    assert signs(watched(few, np.roll(few, 1, 0), PROMPTS[:4])) == set()


def test_a_score_too_good():
    baseline = np.array([24.0, 26, 25, 27, 23, 25, 26, 24])
    assert score_too_good(baseline, baseline * 1.05) is None
    finding = score_too_good(baseline, baseline * 1.2)
    assert finding is not None
    assert "30.00" in finding.evidence
    spread = np.array([20.0, -12, 18, -8, 15, -10, 16, 1])  # 20% better on average, and all of it may be noise
    assert score_too_good(baseline, baseline + spread) is None
    assert score_too_good([], []) is None
    assert score_too_good([-1.0] * 4, [5.0] * 4) is None


@pytest.mark.parametrize("side", [1, 4, 16, 300])
def test_similarity_of_flat_images_is_the_papers_formula(side):
    first, second = np.full((2, side, side, 3), 100, np.uint8), np.full((2, side, side, 3), 110, np.uint8)
    ssim, psnr = similarity(first, second)
    c1 = (0.01 * 255) ** 2
    assert ssim == pytest.approx([(2 * 100 * 110 + c1) / (100**2 + 110**2 + c1)] * 2, abs=1e-4)
    assert psnr == pytest.approx([20 * math.log10(25.5)] * 2)
    assert similarity(first, first) == ([1.0, 1.0], [math.inf, math.inf])


def test_similarity_falls_with_noise_and_wants_one_shape():
    images = shapes()
    close, far = (similarity(images, noisy(images, levels=levels))[0][0] for levels in (3, 60))
    assert 0.9 < close < 1
    assert far < 0.5
    with pytest.raises(ValueError, match="shape"):
        similarity(images, images[:, :32])


IMAGES = st.tuples(st.integers(1, 3), st.integers(1, 80), st.integers(1, 80), st.integers(0, 99), st.integers(0, 255))


@settings(max_examples=40, deadline=None)
@given(IMAGES, st.sampled_from([0, 1, 60, 255]), st.sampled_from([0, 1, 60, 255]))
def test_any_images_are_looked_at_without_a_warning(size, spread, other_spread):
    count, height, width, seed, level = size

    def images(levels):
        noise = np.random.default_rng(seed + levels).integers(-levels, levels + 1, (count, height, width, 3))
        return (level + noise).clip(0, 255).astype(np.uint8)

    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        baseline, candidate = images(spread), images(other_spread)
        watch = ImageWatch()
        found = watch.add(Batch(PROMPTS[:count], tuple(range(count))), 0, baseline, candidate)
        watch.repeated(candidate, baseline)
        watch.reseeded(candidate, baseline)
        ssim, psnr = similarity(baseline, candidate)
    assert len(found) == count
    assert len(watch.findings()) <= len(Sign)
    assert all(-1 <= value <= 1 for value in ssim)
    assert all(value >= 0 for value in psnr)


@pytest.mark.parametrize("shape", [(4096, 4096, 3), (1, 4096, 3), (4096, 1, 3)])
def test_the_largest_images_leave_a_small_look(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    seen = look(image)
    assert seen.thumbnail.nbytes == 32 * 32 * 3
    assert seen.tones > 200


def test_the_threat_model_names_every_sign_and_which_of_them_end_a_pair():
    page = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|warning) \|$", page, re.MULTILINE)
    assert dict(rows) == {sign.value: "yes" if sign in REJECTING else "warning" for sign in Sign}
