"""Alembic environment: runs the migrations in the transaction of the connection that it is given."""

from alembic import context

from penstock.coordinator.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can change a table only by copying it
)
with context.begin_transaction():
    context.run_migrations()
