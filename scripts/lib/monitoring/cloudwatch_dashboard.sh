# shellcheck shell=bash
# The CloudWatch dashboard.
require_lib state/comparison monitoring/search

ensure_cloudwatch_dashboard() {
  local wanted
  wanted=$(render "$SCRIPTS/resources/cloudwatch_dashboard.json")
  if call_unless 'ResourceNotFound(Exception)?|DashboardNotFoundError' cloudwatch get-dashboard \
    --dashboard-name "$CLOUDWATCH_DASHBOARD" --query DashboardBody --output text && is_same "$wanted" "$REPLY"; then
    log "CloudWatch dashboard $CLOUDWATCH_DASHBOARD: already exists"
    return
  fi
  call cloudwatch put-dashboard --dashboard-name "$CLOUDWATCH_DASHBOARD" --dashboard-body "$wanted" --output text \
    --query 'DashboardValidationMessages[].Message'
  log "CloudWatch dashboard $CLOUDWATCH_DASHBOARD: set${REPLY:+, with remarks: $REPLY}"
}

delete_cloudwatch_dashboard() {
  delete_unless ResourceNotFound cloudwatch delete-dashboards --dashboard-names "$1" || true
  log "CloudWatch dashboard $1: deleted"
}
