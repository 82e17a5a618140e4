"""What the pictures of a folder are like, counted as their headers are read: sizes, colour, what was left out."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner import limits
from planner.data.framing import resized_extents
from planner.data.headers import Header
from planner.data.left_out import FilesLeftOut
from planner.data.pace import Pace
from planner.data.pictures import decode_bytes
from planner.errors import DataError
from planner.units import MIB

_MOST_SIZES = 1000
_LARGE_BYTES = 4 * MIB
"""A picture that takes less to decode needs no name: any budget has room for it."""
_MOST_LARGE = 64


@dataclass(frozen=True)
class Costly:
    """A picture that is among those that take most to decode."""

    path: str
    """Its file."""
    header: Header
    """What it says of itself."""
    file_bytes: int
    """Length of the file."""

    def resized(self, size: tuple[int, int], shorter_side: int | None) -> tuple[int, int]:
        """Height and width that it is resized to, to become one of `size`. Raises DataError where that is too long."""
        return resized_extents(self.path, self.header.upright, size, shorter_side)


class PicturesFound:
    """Counts pictures, one after another; it stays small however many there are."""

    def __init__(self, notes: Sequence[str] = (), pace: Pace | None = None) -> None:
        """`notes` are what was found before; `pace` tells how many there are so far."""
        self._notes = list(notes)
        self._pace = pace or Pace()
        self.left_out = FilesLeftOut()
        """Files that are no pictures of a kind that is read."""
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._heights, self._widths = (array("Q", bytes(8 * (limits.MAX_EXTENT + 1))) for _ in range(2))
        self._costly: list[Costly] = []
        self.count = 0
        """Pictures."""
        self.grey = 0
        """Those without colour."""
        self.transparent = 0
        """Those with transparency."""
        self.turned = 0
        """Those that EXIF has stand upright."""
        self.animated = 0
        """Those behind which others follow."""
        self.nested = 0
        """Those in folders inside a class folder."""
        self.skipped_folders = 0
        """Folders inside class folders that were not looked into."""

    def add(self, path: str, header: Header, file_bytes: int) -> None:
        """Count a picture."""
        self._pace.step()
        self.count += 1
        self.grey += header.channels == 1
        self.transparent += header.is_transparent
        self.turned += header.orientation > 1
        self.animated += header.is_animated
        size = header.upright
        self._heights[size[0]] += 1
        self._widths[size[1]] += 1
        if size in self._sizes or len(self._sizes) < _MOST_SIZES:
            self._sizes[size] += 1
        if header.width * header.height * 4 + header.coefficient_bytes > _LARGE_BYTES:
            self._costly.append(Costly(path, header, file_bytes))
            if len(self._costly) > _MOST_LARGE:
                self._costly.sort(key=_worst_bytes, reverse=True)
                del self._costly[_MOST_LARGE // 2 :]

    @property
    def channels(self) -> int:
        """1 where no picture has colour, 3 otherwise."""
        return 1 if self.grey == self.count else 3

    def choose_size(self, folder: Path) -> tuple[int, int]:
        """Height and width of most pictures. Raises DataError where no size is that of more than half."""
        (height, width), most = self._sizes.most_common(1)[0]
        if 2 * most <= self.count and len(self._sizes) > 1:
            middle = f"{_median(self._heights, self.count)}x{_median(self._widths, self.count)}"
            raise DataError(
                str(folder),
                f"its images are of different sizes, {self._range()}, and no size is that of most; say to which they "
                f"are resized: --resize HxW (their middle height and width: {middle})",
            )
        return height, width

    def _range(self) -> str:
        heights, widths = (
            [extent for extent, count in enumerate(each) if count] for each in (self._heights, self._widths)
        )
        return f"from {heights[0]} to {heights[-1]} high and from {widths[0]} to {widths[-1]} wide"

    def decode_bytes(self, size: Sequence[int], shorter_side: int | None = None) -> tuple[str, int]:
        """The picture that takes most to decode and to resize to `size` (height, width), and how much that is."""
        height, width = size
        costs = (
            (decode_bytes(each.header, each.resized((height, width), shorter_side), each.file_bytes), each.path)
            for each in self._costly
        )
        most, path = max(costs, default=(0, ""))
        return path, most

    def notes(self, size: tuple[int, int, int], shorter_side: int | None = None) -> tuple[str, ...]:
        """What a person should know, where pictures are read as `size`."""
        return (
            *self._notes,
            *self._about_files(),
            *self._about_colour(size[0]),
            *self._about_sizes(size[1], size[2], shorter_side),
        )

    def _about_files(self) -> Iterator[str]:
        if self.nested:
            yield f"{_images(self.nested)} in folders inside a class folder: read as that class"
        if self.skipped_folders:
            count = self.skipped_folders
            yield f"left out: {count} {'folder' if count == 1 else 'folders'} inside class folders: links, or too deep"
        yield from self.left_out.notes()

    def _about_colour(self, channels: int) -> Iterator[str]:
        if channels == 3 and self.grey:
            yield f"{self.grey} of {_images(self.count)} without colour: read as grey in three channels"
        if channels == 1 and self.grey < self.count:
            yield f"{self.count - self.grey} of {_images(self.count)} in colour: made grey"
        if self.transparent:
            yield f"{self.transparent} of {_images(self.count)} with transparency: laid on white"
        if self.turned:
            yield f"{self.turned} of {_images(self.count)} turned upright, as EXIF says"
        if self.animated:
            yield f"{self.animated} of {_images(self.count)} animated: the first picture of each is read"

    def _about_sizes(self, height: int, width: int, shorter_side: int | None) -> Iterator[str]:
        if shorter_side is not None:
            (had, *more) = self._sizes
            sizes = f"sizes are {self._range()}" if more else f"all are {had[0]}×{had[1]}"
            cut = f"their middle {height}×{width} cut out"
            yield f"images are resized to a shorter side of {shorter_side}, and {cut}; {sizes}"
            return
        others = self.count - self._sizes[height, width]
        if others:
            if len(self._sizes) == 1:
                (had,) = self._sizes
                yield f"all images are {had[0]}×{had[1]}: resized to {height}×{width}"
            else:
                yield f"{others} of {_images(self.count)} resized to {height}×{width}; sizes are {self._range()}"


def _worst_bytes(costly: Costly) -> int:
    header = costly.header
    return decode_bytes(header, (header.height, header.width), costly.file_bytes)


def _median(counts: Sequence[int], total: int) -> int:
    seen = 0
    for extent, count in enumerate(counts):
        seen += count
        if 2 * seen >= total:
            return extent
    return 0


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"
