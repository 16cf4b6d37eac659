"""Where Alembic meets the open connection that ``upgrade`` hands it. Loaded by Alembic alone."""

from alembic import context

from ailink_gateway.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
