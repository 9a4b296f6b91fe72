// Sends mail to the next hop of its domain, or of the nearest domain above it that is listed with a dot in front.
#include "stagepost.h"

static sp_text hop_of(sp_text domain) {
  sp_value domains = sp_get(sp_config(), SP("domains"));
  sp_text hop = sp_as_text(sp_get(domains, domain));
  for (uint32_t i = 0; !hop.ptr && i < domain.len; i++)
    if (domain.ptr[i] == '.') hop = sp_as_text(sp_get(domains, sp_slice(domain, i, domain.len)));
  return hop.ptr ? hop : sp_as_text(sp_get(sp_config(), SP("default")));
}

static sp_verdict on_route(sp_rcpt rcpt) {
  sp_text hop = hop_of(sp_rcpt_address(rcpt).domain);
  if (!hop.ptr) return SP_NEXT;
  if (sp_starts(hop, SP("mx:"))) return sp_route_with(.mx = sp_slice(hop, 3, hop.len));
  if (sp_starts(hop, SP("lmtp:"))) return sp_route_with(.via = SP("lmtp"), .hosts = sp_of_text(sp_slice(hop, 5, hop.len)));
  return sp_route_with(.via = SP("smtp"), .hosts = sp_of_text(hop));
}

// Settings that make no sense keep the plugin from loading.
static sp_error on_load(void) {
  for (sp_iter i = sp_begin(sp_get(sp_config(), SP("domains"))); sp_next(&i);)
    if (!sp_as_text(i.value).len) return sp_fail("domains: \"%.*s\" has no next hop", SP_ARG(i.key));
  return 0;
}

SP_PLUGIN(.load = on_load, .route = on_route)
