"""The command `recommender`: its subcommands, in the groups of its help."""

import click

from recommender.cli import build, learn, maintenance, policy, query, read
from recommender.cli.command import Command, Group

_SECTIONS: dict[str, tuple[Command, ...]] = {
    "Build an index": (read.read, build.prepare, build.build, build.add, build.remove),
    "Query it": (query.related, query.search, query.links),
    "Decide about blocks": (
        policy.settings, policy.pin, policy.unpin, policy.ban, policy.unban, policy.rule, policy.policy,
    ),
    "Look after it": (maintenance.info, maintenance.evaluate, learn.learn, maintenance.verify, maintenance.copy),
}  # fmt: skip


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=["build content/", "related posts/hello.md", "links -k 3 --out related.json", "help build"],
    sections={heading: [str(command.name) for command in commands] for heading, commands in _SECTIONS.items()},
)
@click.version_option(None, "-V", "--version", package_name="recommender")
def main() -> None:
    """Related-article links for an archive of articles.

    SOURCE is a file or a folder of articles (Markdown, HTML, JSON, CSV, feeds, exports of WordPress and Ghost, ...), a
    URL, a database, or - for standard input; `recommender read SOURCE` shows what would be indexed.
    Exit status: 0 done, 1 the request cannot be met, 2 wrong usage.
    """


for _commands in _SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
