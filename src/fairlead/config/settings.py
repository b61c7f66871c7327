"""All tables of the configuration. A new concept is one more field here; everything else follows from it."""

from pydantic import Field

from fairlead.app.settings import AppSettings
from fairlead.companions.settings import CompanionSettings
from fairlead.config_base import Table
from fairlead.http.settings import HttpSettings
from fairlead.https.settings import HttpsSettings
from fairlead.log.settings import LogSettings
from fairlead.memory.settings import MemorySettings
from fairlead.replication.settings import ReplicationSettings
from fairlead.restarts.settings import RestartSettings
from fairlead.startup.settings import StartupSettings
from fairlead.steps.settings import StepSettings


class Settings(Table):
    """Fairlead's configuration: `fairlead.toml`, or `[tool.fairlead]` in `pyproject.toml`."""

    app: AppSettings = AppSettings()
    http: HttpSettings = HttpSettings()
    https: HttpsSettings = HttpsSettings()
    log: LogSettings = LogSettings()
    startup: StartupSettings = StartupSettings()
    restarts: RestartSettings = RestartSettings()
    replication: ReplicationSettings = ReplicationSettings()
    memory: MemorySettings = MemorySettings()
    steps: list[StepSettings] = Field([], description="Commands that run once before a release serves, in this order.")
    companions: list[CompanionSettings] = Field(
        [], description="Other processes of the app that run beside its workers."
    )
