"""`fairlead export`: the files of another home, and who takes care of what there."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.targets.model import File, Site, Target


def export(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Where to: systemd, supervisor, dockerfile or compose.")
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="The folder the files go to.")] = ".",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 and show it when the files there differ.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed by hand, too.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The instance's name. Default: the folder's.", show_default=False)
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
) -> None:
    """Write the files that run the app elsewhere, and say who takes care of what there."""
    from fairlead.cli.sites import find_site
    from fairlead.targets.registry import find_target

    home = find_target(target)
    site = find_site(name, config)
    files = home.render(site)
    if check:
        check_files(Path(out), files)
        return
    write_files(Path(out), files, force)
    for note in (*site.plan.notes, *lock_notes(home, site)):
        typer.echo(f"note: {note}", err=True)
    typer.echo("\n" + care_table(home))
    name = site.plan.name
    port = next((str(bind.port) for bind in site.plan.binds if bind.kind == "tcp"), "8000")
    words = {"PORT": port, "IMAGE": name.lower(), "STACK": name.replace(".", "-"), "NAME": name}
    typer.echo(f"\nnext: {re.sub('|'.join(words), lambda found: words[found[0]], home.after)}")


def lock_notes(home: "Target", site: "Site") -> list[str]:
    """Of files that pin dependencies for nothing."""
    from fairlead.cli.sites import UNREAD_LOCKS

    if home.name not in ("dockerfile", "compose"):
        return []
    return [
        f"{lock} is not read: the image gets what {site.lock} says"
        for lock in UNREAD_LOCKS
        if (Path(site.plan.cwd) / lock).is_file()
    ]


def write_files(folder: Path, files: list["File"], force: bool) -> None:
    """Writes all files or, when one is not ours to replace, none; says each."""
    from fairlead.cli.writing import Found, refuse_changed, write_all

    refuse_changed(folder, files, force)
    for name, found in write_all(folder, files).items():
        typer.echo(f"{'unchanged' if found is Found.SAME else 'written'}: {folder / name}")


def check_files(folder: Path, files: list["File"]) -> None:
    """FairleadError, with the differences on stdout, unless every file is as it would be written."""
    from fairlead.cli.writing import difference

    differences = {file.path: text for file in files if (text := difference(folder, file))}
    for text in differences.values():
        typer.echo(text, nl=False)
    if differences:
        raise FairleadError(
            f"cannot confirm {', '.join(differences)} in {folder}: what is there differs from what would be written"
        )
    typer.echo(f"up to date: {', '.join(file.path for file in files)}")


def care_table(home: "Target") -> str:
    """One line a concept: who takes care of it on this target, and how."""
    rows = [f"  {concept:<12} {care.who:<16} {care.how}" for concept, care in home.cares.items()]
    return "\n".join([f"who takes care of what on {home.name}:", *rows])
