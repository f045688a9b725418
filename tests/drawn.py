"""Folders of images drawn for a test: each image has one grey value, by which it is told from the others."""

from pathlib import Path

from PIL import Image


def draw(path: Path, grey: int = 0, size: tuple[int, int] = (6, 4), mode: str = "L") -> Path:
    """An image of one grey value; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).convert(mode).save(path)
    return path


def draw_pets(folder: Path) -> Path:
    """Four cats, grey 10 to 13, and four dogs, 20 to 23, of 4×6 pixels."""
    for number in range(4):
        draw(folder / "cats" / f"{number}.png", 10 + number)
        draw(folder / "dogs" / f"{number}.png", 20 + number)
    return folder
