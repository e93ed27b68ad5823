# shellcheck shell=bash
# What Athena needs: the Glue database with its table over the archive, and a workgroup that limits a query.
require_lib state/inventory state/survey state/comparison

# Partition projection computes the partitions from the dates, so that no crawler has to find them.
ensure_catalog() {
  local wanted
  wanted=$(render "$ROOT/athena/stock_data_table.json")
  if exists database "$DATABASE"; then
    log "database $DATABASE: already exists"
    if call_unless EntityNotFoundException glue get-table --database-name "$DATABASE" --name "$GLUE_TABLE" \
      --query Table --output json; then
      if has_settings "$wanted" "$REPLY"; then
        log "glue table $GLUE_TABLE: already exists"
      else
        call glue update-table --database-name "$DATABASE" --table-input "$wanted" --skip-archive
        log "glue table $GLUE_TABLE: updated"
      fi
      return
    fi
  else
    call glue create-database --database-input "Name=$DATABASE,Description=The archive of stock ticks in S3" \
      --tags "project=$PROJECT"
    created database "$DATABASE"
  fi
  call glue create-table --database-name "$DATABASE" --table-input "$wanted"
  log "glue table $GLUE_TABLE: created"
}

ensure_workgroup() {
  local wanted
  wanted=$(render "$SCRIPTS/resources/workgroup.json")
  if ! exists workgroup "$WORKGROUP"; then
    call athena create-work-group --name "$WORKGROUP" --configuration "$wanted" --tags "Key=project,Value=$PROJECT"
    created workgroup "$WORKGROUP"
    return
  fi
  log "workgroup $WORKGROUP: already exists"
  if ! is_set workgroup "$WORKGROUP" "{\"Configuration\": $wanted}"; then
    # An update has another name for the configuration of results.
    call athena update-work-group --work-group "$WORKGROUP" \
      --configuration-updates "${wanted/\"ResultConfiguration\"/\"ResultConfigurationUpdates\"}"
    log "workgroup $WORKGROUP: settings updated"
  fi
}

# A database goes with its tables, a workgroup with its saved queries and their history.
delete_database() {
  delete_unless EntityNotFoundException glue delete-database --name "$1" || true
  log "database $1: deleted"
}

delete_workgroup() {
  call_unless InvalidRequestException athena delete-work-group --work-group "$1" --recursive-delete-option || true
  log "workgroup $1: deleted"
}
