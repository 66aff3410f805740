"""The bytes of each key's attachments, counted as they come and go.

A file counts as 4 KiB at least: a block of the disk, and its row.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


ADD = """
    INSERT INTO storage_use (key_id, bytes) VALUES (NEW.key_id, CASE WHEN NEW.size < 4096 THEN 4096 ELSE NEW.size END)
    ON CONFLICT (key_id) DO UPDATE SET bytes = storage_use.bytes + excluded.bytes;
"""
# A key without files leaves nothing behind.
TAKE = """
    UPDATE storage_use SET bytes = bytes - CASE WHEN OLD.size < 4096 THEN 4096 ELSE OLD.size END
    WHERE key_id = OLD.key_id;
    DELETE FROM storage_use WHERE key_id = OLD.key_id AND bytes < 1;
"""
EVENTS = {"INSERT": ADD, "DELETE": TAKE, "UPDATE OF key_id, size": TAKE + ADD}


def name_of(event: str) -> str:
    return f"storage_use_{event.partition(' ')[0].lower()}"


def upgrade() -> None:
    op.create_table(
        "storage_use",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_storage_use")),
    )
    op.execute(
        "INSERT INTO storage_use (key_id, bytes)"
        " SELECT key_id, SUM(CASE WHEN size < 4096 THEN 4096 ELSE size END) FROM attachments GROUP BY key_id"
    )
    for event, act in EVENTS.items():
        name = name_of(event)
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON attachments BEGIN {act} END")
        else:
            op.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {act} RETURN NULL; END $$"
            )
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON attachments FOR EACH ROW EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    for name in map(name_of, EVENTS):
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"DROP TRIGGER {name}")
        else:
            op.execute(f"DROP TRIGGER {name} ON attachments")
            op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("storage_use")
