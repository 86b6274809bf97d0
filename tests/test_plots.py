"""Figures: alt text in the metadata, positions that are right, distances to scale, and no warning on the way."""

import warnings

import matplotlib as mpl
import numpy as np
import pandas
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_utils import datasets, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: a list of (data, metadata)."""
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    outputs = []

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, **_):
            outputs.append((data, metadata))

    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", Publisher())
    yield outputs
    InteractiveShell.clear_instance()


@pytest.fixture(scope="module")
def scenes():
    return datasets.load("scenes", "test", limit=30)


def drawn(figure):
    """The figure, drawn, so that whatever matplotlib warns about on drawing becomes an error."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


# --- show -----------------------------------------------------------------------------------------------

def test_alt_text_travels_in_the_outputs_metadata(shown):
    figure, axis = plt.subplots(figsize=(4, 3))
    axis.plot([1, 2])
    plots.show(figure, alt="A line that rises.")
    (data, metadata), = shown
    assert metadata["image/png"]["alt"] == "A line that rises." and metadata["image/png"]["width"] > 100
    assert "image/png" in data and not plt.get_fignums()


def test_alt_text_is_required(shown):
    figure = plt.figure()
    with pytest.raises(TypeError, match="alt"):
        plots.show(figure)
    for alt in ("", "  \n"):
        with pytest.raises(ValueError, match="alt text"):
            plots.show(figure, alt=alt)
    assert not shown


def test_colours_are_okabe_and_itos_and_differ():
    assert len({mpl.colors.to_hex(color) for color in plots.COLORS}) == 6
    assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(plots.COLORS)


# --- images ---------------------------------------------------------------------------------------------

def test_images_become_rgb_arrays_between_0_and_1():
    grey = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert plots.as_array(grey).tolist() == [[[[0, 0, 0], [1, 1, 1]]]]
    x = torch.rand(2, 3, 4, 5) * 3 - 1
    assert np.allclose(plots.as_array(x), x.clamp(0, 1).permute(0, 2, 3, 1))


@pytest.mark.parametrize(("n", "columns", "height", "width"), [(7, 3, 8, 8), (4, 4, 9, 5), (1, 1, 32, 32)])
def test_a_montage_has_each_image_where_it_says(n, columns, height, width):
    images = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))
    _, axis = plt.subplots()
    centres = plots.montage(axis, images, columns, gap=3)
    canvas = axis.images[0].get_array()
    assert canvas.shape == (-(-n // columns) * (height + 3) + 3, columns * (width + 3) + 3, 3)
    for image, (x, y) in zip(plots.as_array(images), centres, strict=True):
        left, top = round(x - (width - 1) / 2), round(y - (height - 1) / 2)
        assert np.allclose(canvas[top:top + height, left:left + width], image)
        assert (x, y) == (left + (width - 1) / 2, top + (height - 1) / 2)
    drawn(axis.figure)


def test_frames_stand_around_their_images():
    _, axis = plt.subplots()
    centres = plots.montage(axis, torch.rand(3, 3, 8, 8), 3, frames=[None, plots.BLUE, None])
    frame, = axis.patches
    assert mpl.colors.to_hex(frame.get_edgecolor()) == plots.BLUE.lower() and not frame.get_fill()
    assert np.allclose(frame.get_bbox().get_points().mean(0), centres[1], atol=0.5)
    assert frame.get_width() > 8


def test_image_row_has_a_title_above_each(scenes):
    figure = drawn(plots.image_row(scenes.images[:5], list("abcde"), columns=3))
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", "d", "e", ""]
    assert len(drawn(plots.image_row(scenes.images[:4])).axes) == 4


def test_neighbour_grid_frames_the_same_class_and_counts_it(scenes):
    index = torch.stack([(scenes.labels == scenes.labels[0]).nonzero()[:2, 0],
                         (scenes.labels != scenes.labels[1]).nonzero()[:2, 0]])
    figure = drawn(plots.neighbor_grid(scenes[:2], scenes, index, title="f(x) = test"))
    frames = [mpl.colors.to_hex(frame.get_edgecolor()).upper() for frame in figure.axes[0].patches]
    assert frames == [plots.BLACK, plots.BLUE, plots.BLUE, plots.BLACK]
    title, = [text for text in texts(figure) if text.startswith("f(x) = test")]
    assert "its 2 nearest" in title and "50%" in title
    assert {scenes.classes[label] for label in scenes.labels[:2].tolist()} <= set(texts(figure))
    bare = drawn(plots.neighbor_grid(scenes[:2], scenes, index, title="short", legend=False))
    assert "short" in texts(bare)


# --- numbers --------------------------------------------------------------------------------------------

def test_bars_are_as_long_as_their_values_and_the_first_is_on_top():
    figure = drawn(plots.bars(["a", "b"], [0.25, 0.5], [(0.2, 0.3), (0.4, 0.6)], title="t", xlabel="x", chance=0.1))
    axis = figure.axes[0]
    assert [bar.get_width() for bar in axis.patches] == [0.25, 0.5] and axis.yaxis.get_inverted()
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_title() == "t" and axis.get_xlabel().startswith("x")
    assert [text.strip() for text in texts(figure) if text.strip() in ("0.25", "0.50")] == ["0.25", "0.50"]
    bars, = [c for c in axis.containers if isinstance(c, mpl.container.ErrorbarContainer)]
    assert np.allclose([segment[:, 0] for segment in bars[2][0].get_segments()], [(0.2, 0.3), (0.4, 0.6)])


def test_bars_without_intervals_or_with_some_missing_or_all_zero_draw_without_a_warning():
    for values, intervals in (([0.1, 0.2], None), ([0.1, 0.2], [(0.0, 0.3), (None, None)]), ([0.0, 0.0], None)):
        drawn(plots.bars(["a", "b"], values, intervals, title="t", xlabel="x"))


def test_bars_on_shared_axes_keep_the_first_on_top():
    figure, axes = plt.subplots(1, 2, sharey=True)
    for axis in axes:
        plots.bars(["a", "b"], [1, 2], title="t", xlabel="x", axis=axis)
    assert all(axis.yaxis.get_inverted() for axis in axes)
    drawn(figure)


def triangle(figure):
    """The three points that were drawn."""
    return np.array([c.get_offsets()[0] for c in figure.axes[-1].collections])


@pytest.mark.parametrize("seed", range(4))
def test_vector_space_is_drawn_to_scale(seed):
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)) * 10**seed
    distance = torch.cdist(z, z)
    figure = drawn(plots.vector_space(distance, "abc", title="t"))
    points = triangle(figure)
    drawn_at = np.linalg.norm(points[:, None] - points, axis=2)
    assert np.allclose(drawn_at / drawn_at.max(), distance / distance.max(), atol=1e-5)
    assert figure.axes[0].get_aspect() == 1 and {"a", "b", "c"} <= set(texts(figure))


def test_vector_space_marks_the_shortest_side():
    distance = torch.tensor([[0, 3.0, 5], [3, 0, 4], [5, 4, 0]])
    figure = drawn(plots.vector_space(distance, "abc"))
    lines = {line.get_color(): line.get_xydata() for line in figure.axes[0].lines}
    assert np.allclose(lines[plots.BLUE], triangle(figure)[:2])
    assert {"3", "4", "5"} <= set(texts(figure))


@pytest.mark.parametrize("distance", [
    torch.zeros(3, 3), torch.tensor([[0, 0, 2.0], [0, 0, 2], [2, 2, 0]]),
    torch.tensor([[0, 0, 2.0], [0, 0, 2.00001], [2, 2.00001, 0]]), torch.tensor([[0, 2.0, 0], [2, 0, 2], [0, 2, 0]])])
def test_vector_space_of_points_that_coincide_stays_in_the_picture(distance):
    points = triangle(drawn(plots.vector_space(distance, "abc")))
    assert np.isfinite(points).all()
    assert np.allclose(np.linalg.norm(points[:, None] - points, axis=2) * float(distance.max()), distance, atol=0.02)


def test_three_images_shows_distances_of_scaled_features_and_says_who_is_together(scenes):
    seen = []

    def background(x):
        seen.append(x)
        return x[:, :, :2].mean((2, 3)) * 7  # the upper edge

    figure = drawn(plots.three_images(background, name="the upper edge"))
    x, = seen
    z = torch.nn.functional.normalize(background(x))
    expected = torch.cdist(z, z)
    points = triangle(figure)
    at = np.linalg.norm(points[:, None] - points, axis=2)
    assert x.shape == (3, 3, 32, 32) and x.min() >= 0 and x.max() <= 1
    assert np.allclose(at / at.max(), expected / expected.max(), atol=1e-5)
    assert "f(x) = the upper edge   →   x₁ and x₃: same background, together" in texts(figure)
    good = plots.three_images(lambda x: torch.tensor([[1.0, 0], [1, 0.1], [0, 1]]), size=64)
    assert any("same thing, together" in text for text in texts(drawn(good)))
    odd = plots.three_images(lambda x: torch.tensor([[1.0, 0], [0.1, 1], [0, 1]]), size=64)
    assert any("x₂ and x₃: nothing shared, together" in text for text in texts(drawn(odd)))


# --- the chart that grows -------------------------------------------------------------------------------

def board(*rows):
    columns = ["notebook", "feature", "metric", "value", "low", "high", "own"]
    return pandas.DataFrame([dict(zip(columns, row, strict=True)) for row in rows])


ROWS = [(1, "pixels", "kNN", 0.4, 0.38, 0.42, False), (1, "pixels", "linear probe", 0.3, 0.28, 0.32, False),
        (2, "supervised", "kNN", 0.8, 0.78, 0.82, False), (6, "simclr", "kNN", 0.7, 0.68, 0.72, False)]


def test_the_scoreboard_grows_with_the_notebooks():
    for notebook, names in ((1, ["pixels"]), (2, ["pixels", "supervised"]), (7, ["pixels", "supervised", "simclr"])):
        figure = drawn(plots.scoreboard(board(*ROWS), notebook))
        assert [axis.get_title() for axis in figure.axes] == ["kNN", "linear probe", "10 labels per class"]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
        assert [bar.get_width() for bar in figure.axes[0].patches] == [0.4, 0.8, 0.7][:len(names)]
        low, high = figure.axes[0].get_ylim()
        assert low > high  # the first on top


def test_the_scoreboard_writes_no_number_that_was_not_measured():
    figure = drawn(plots.scoreboard(board(*ROWS), 7))
    numbers = [text.strip() for text in texts(figure) if text.strip() in ("0.40", "0.30", "0.80", "0.70", "0.00")]
    assert sorted(number for number in numbers if number != "0.00") == ["0.30", "0.40", "0.70", "0.80"]
    assert len(figure.axes[2].patches) == 0 and len(figure.axes[1].patches) == 1


def test_own_runs_are_stars_beside_the_bars():
    figure = drawn(plots.scoreboard(board(*ROWS, (6, "simclr", "kNN", 0.65, None, None, True)), 7))
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert [line.get_xydata().tolist() for line in stars] == [[[0.65, 2]]]
    assert "your own runs" in texts(figure)


@pytest.mark.parametrize("metrics", [("kNN",), ("kNN", "linear probe")])
def test_the_scoreboard_draws_any_number_of_metrics(metrics):
    figure = drawn(plots.scoreboard(board(*ROWS), 7, metrics=metrics))
    assert [axis.get_title() for axis in figure.axes] == list(metrics)
    low, high = figure.axes[0].get_ylim()
    assert low > high


def test_no_figure_warns_when_it_is_shown(shown, scenes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.show(plots.scoreboard(board(*ROWS), 7), alt="bars")
        plots.show(plots.three_images(lambda x: x.flatten(1)), alt="a triangle")
        plots.show(plots.image_row(scenes.images[:3], ["a", "b", "c"]), alt="three pictures")
    assert len(shown) == 3 and not plt.get_fignums()
