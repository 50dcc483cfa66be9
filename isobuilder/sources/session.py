"""What every step works with: settings, store, connections and a listener."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isobuilder.http.client import Http
from isobuilder.model.config import Config, read_config
from isobuilder.progress import SILENT, Progress
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry import RegistryClient
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.remote import RemoteStore
from isobuilder.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Session:
    """Settings, store and connections of one call; open it with ``open_session``."""

    config: Config
    store: Store
    http: Http
    fetcher: Fetcher
    registry: RegistryClient
    progress: Progress
    remote: RemoteStore | None = None  # what machines share


@contextmanager
def open_session(
    config: Config | None = None, store: Store | None = None, *, progress: Progress = SILENT
) -> Iterator[Session]:
    """Give the tools of a step; connections are closed at the end.

    Without ``config`` the settings are those of the user's file and of the environment; without
    ``store`` it is the one that the settings name.

    Raises:
        InputErrors: what is wrong with the settings.
    """
    config = config or read_config()
    store = store or open_store(config.store)
    with Http(config.http) as http:
        credentials = Credentials(servers=http.settings.servers)
        remote = _shared(config, http, credentials, progress)
        fetcher = Fetcher(store, http, jobs=config.jobs, progress=progress, remote=remote)
        registry = RegistryClient(http, config, credentials)
        yield Session(config, store, http, fetcher, registry, progress, remote)


def _shared(
    config: Config, http: Http, credentials: Credentials, progress: Progress
) -> RemoteStore | None:
    if config.remote_store is None:
        return None
    required = config.remote_store_required
    return RemoteStore(config.remote_store, http, credentials, required=required, progress=progress)
