#!/bin/sh
# Runs once, when the database's folder is empty: Dagster gets a database and a role of its own, so that neither
# it nor the catalog can read the other's.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$DAGSTER_POSTGRES_PASSWORD" --set catalog="$POSTGRES_DB" <<'SQL'
create role dagster login password :'password';
create database dagster owner dagster;
revoke connect on database dagster from public;
revoke connect on database :"catalog" from public;
SQL
