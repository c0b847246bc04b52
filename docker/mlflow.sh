#!/usr/bin/env bash
# MLflow behind its own login; the password comes from the environment and is written nowhere.
set -euo pipefail
config=$(mktemp)
cat >"$config" <<INI
[mlflow]
default_permission = READ
database_uri = sqlite:////var/lib/flashsale/mlflow-users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH=$config MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 1 \
  --allowed-hosts "mlflow:5000,localhost:5000,127.0.0.1:5000" \
  --backend-store-uri "$MLFLOW_BACKEND" --artifacts-destination /var/lib/flashsale/mlflow-artifacts
