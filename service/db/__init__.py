"""The database: pool and transactions, named SQL, migrations, and a PostgreSQL of our own when none is given."""

from service.db.embedded import Embedded, EmbeddedError
from service.db.migrations import (
    MigrationError,
    SchemaState,
    expected_version,
    migrate,
    require_schema,
    schema_state,
)
from service.db.named import queries
from service.db.pool import DatabaseUnavailable, Db, Reader, Tx

__all__ = [
    "DatabaseUnavailable",
    "Db",
    "Embedded",
    "EmbeddedError",
    "MigrationError",
    "Reader",
    "SchemaState",
    "Tx",
    "expected_version",
    "migrate",
    "queries",
    "require_schema",
    "schema_state",
]
