"""The policy editor: the methods of `Recommender` that read and change settings, pins, bans and rules."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Unpack

from recommender.article import as_id
from recommender.blocks import lookup
from recommender.blocks.eligibility import make_eligibility
from recommender.blocks.policy import Options, Policy, Rule, Settings
from recommender.blocks.policy_effect import PolicyEffect, policy_effect
from recommender.blocks.signatures import lists_settings
from recommender.errors import IndexDamagedError, PolicyError
from recommender.store import Store

_PREVIOUS = "previous"  # key of the stored policy under which the policy before the last change is stored


class PolicyEditor:
    """Reads and changes the policy of an index.

    Every change is atomic and durable when the call returns. It may be made during a build, and stays when the articles
    that it names are removed.
    """

    _store: Store
    _cached_policy: tuple[dict[str, Any], Policy] | None = None  # the stored record and its policy

    @property
    def policy(self) -> Policy:
        """The settings, pins, bans and rules of the index."""
        record = self._store.policy()
        if self._cached_policy is None or self._cached_policy[0] is not record:
            self._cached_policy = (record, Policy.from_record(_without_previous(record)))
        return self._cached_policy[1]

    def preview_policy(self, policy: Policy | Mapping[str, Any], k: int = 3) -> PolicyEffect:
        """Compare the blocks under another policy with those under the present one, without storing it.

            rec.preview_policy(replace(rec.policy, settings=Settings(max_age="12m"))).empty

        In an index of more than 200 articles the effect is estimated from a sample; it takes a few seconds at any size.

        Raises:
            PolicyError: the policy is not valid.
        """
        other = policy if isinstance(policy, Policy) else Policy.from_record(policy)
        with self._store.snapshot():
            before = make_eligibility(self._store, self.policy, {})
        return policy_effect(self._store, before, replace(before, policy=other, settings=other.settings), k)

    def load_policy(self, policy: Policy | Mapping[str, Any]) -> None:
        """Replace all settings, pins, bans and rules.

        Raises:
            PolicyError: the policy is not valid.
        """
        record = (policy if isinstance(policy, Policy) else Policy.from_record(policy)).to_record()
        Policy.from_record(record)
        try:
            self._store.edit_policy(lambda stored: _with_previous(stored, record))
        except IndexDamagedError:  # a damaged policy need not be readable to be replaced
            self._store.edit_policy(lambda stored: record, anew=True)

    def undo_policy(self) -> Policy:
        """Undo the last change of settings, pins, bans or rules, and return the policy; a second call redoes it.

        Raises:
            PolicyError: there was no change.
        """

        def undo(stored: dict[str, Any]) -> dict[str, Any]:
            if _PREVIOUS not in stored:
                raise PolicyError("There is no change of the policy to undo.")
            return _with_previous(stored, Policy.from_record(stored[_PREVIOUS]).to_record())

        self._store.edit_policy(undo)
        return self.policy

    @lists_settings
    def configure(self, **options: Unpack[Options]) -> Settings:
        """Change settings of the blocks that are stored with the index, and return all settings.

        Args:
            options: the settings to change.

        Raises:
            PolicyError: there is no such setting, or it cannot have this value.
        """
        self._edit(lambda policy: replace(policy, settings=policy.settings.updated(options)))
        return self.policy.settings

    def pin(self, id: str | int, *links: str | int) -> None:
        """Pin links under an article: they stand first, in this order, before its other pins.

        Name articles by id, url or title, here and in `unpin`, `ban` and `unban`. A name that no article has is
        taken as the id of a future article.

        Raises:
            ArticleNotFoundError: several articles have this url or title.
            PolicyError: an id is empty, or an article would be pinned under itself.
        """
        article_id, *link_ids = self._resolve([id, *links])
        self._edit(lambda policy: policy.with_pins(article_id, link_ids))

    def unpin(self, id: str | int, *links: str | int) -> None:
        """Remove pins from under an article; all of them if no link is named."""
        article_id, *link_ids = self._resolve([id, *links])
        self._edit(lambda policy: policy.without_pins(article_id, link_ids))

    def ban(self, id: str | int, other: str | int | None = None) -> None:
        """Ban an article from all blocks; with `other`, ban each of the two from the other's block."""
        ids = self._resolve([id] if other is None else [id, other])
        self._edit(lambda policy: policy.with_ban(*ids))

    def unban(self, id: str | int, other: str | int | None = None) -> None:
        """Remove a ban."""
        ids = self._resolve([id] if other is None else [id, other])
        self._edit(lambda policy: policy.without_ban(*ids))

    def set_rule(self, rule: Rule | Mapping[str, Any]) -> None:
        """Add a rule, or replace the rule of the same name.

        Raises:
            PolicyError: the rule is not valid.
        """
        new_rule = rule if isinstance(rule, Rule) else Rule.from_record(rule)
        self._edit(lambda policy: policy.with_rule(new_rule))

    def remove_rule(self, name: str) -> None:
        """Remove a rule.

        Raises:
            PolicyError: there is no rule of this name.
        """
        if name not in {rule.name for rule in self.policy.rules}:
            raise PolicyError(f"There is no rule {name!r}.")
        self._edit(lambda policy: policy.without_rule(name))

    def _resolve(self, names: Iterable[object]) -> list[str]:
        """Return the ids of articles named by id, url or title; a name that no article has stays as it is."""
        cleaned = [as_id(name) for name in names]
        with self._store.snapshot():
            return [lookup.resolve(self._store, name) or name for name in cleaned]

    def _edit(self, edit: Callable[[Policy], Policy]) -> None:
        def edit_record(stored: dict[str, Any]) -> dict[str, Any]:
            record = edit(Policy.from_record(_without_previous(stored))).to_record()
            Policy.from_record(record)
            return _with_previous(stored, record)

        self._store.edit_policy(edit_record)


def _without_previous(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of the present policy from the stored record."""
    return {name: part for name, part in stored.items() if name != _PREVIOUS}


def _with_previous(stored: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the record to store for another policy: its own, and that of the policy before."""
    before = _without_previous(stored)
    return stored if record == before else {**record, _PREVIOUS: before}
