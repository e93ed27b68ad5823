# shellcheck shell=bash
# The CloudWatch alarms.
require_lib state/comparison

# Five minutes behind leave ten to mend it before signals are too old to be alerted (ALERT_MAX_AGE_MINUTES), and most
# of the six hours after which Lambda gives up a batch.
ensure_iterator_age_alarm() { ensure_alarm iterator_age "$1"; }
# Lambda's retry mends a single error, but not one that lasts longer than five minutes.
ensure_errors_alarm() { ensure_alarm errors "$1"; }
# A batch that Lambda gave up and could not store either is lost when the stream forgets it, so one is enough.
ensure_undelivered_alarm() { ensure_alarm undelivered "$1"; }
# The producer sends no bad records, so one is enough.
ensure_rejects_alarm() { ensure_alarm rejects; }
# Ticks come every half minute, but a quiet or rate-limited quarter of an hour may have none.
ensure_no_data_alarm() { ensure_alarm no_data; }

# ensure_alarm KIND [FUNCTION]: as scripts/resources/alarm_KIND.json defines it.
ensure_alarm() {
  # shellcheck disable=SC2034 # render reads FUNCTION
  local wanted name FUNCTION=${2-}
  wanted=$(render "$SCRIPTS/resources/alarm_$1.json")
  name=${wanted#*\"AlarmName\": \"}
  name=${name%%\"*}
  call cloudwatch describe-alarms --alarm-names "$name" --query 'MetricAlarms[0]' --output json
  if [[ $REPLY != null ]] && has_settings "$wanted" "$REPLY"; then
    log "alarm $name: already exists"
    return
  fi
  call cloudwatch put-metric-alarm --cli-input-json "$wanted" --tags "Key=project,Value=$PROJECT"
  log "alarm $name: set"
}

delete_alarm() {
  delete_unless ResourceNotFound cloudwatch delete-alarms --alarm-names "$1" || true
  log "alarm $1: deleted"
}
