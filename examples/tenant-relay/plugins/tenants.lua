-- Finds out whose mail it is when it begins, keeps that with the message, and sends it by that tenant's smart host when it is
-- due: perhaps days later and after a restart, for the tenant is stored with the message.

plugin {
  id = "tenants",
  version = "1.0.0",
  description = "sends each tenant's mail by its own smart host",
  needs = { edit = { "headers" }, route = { "*", "private" } },
  config = {
    senders = { type = "map", default = {}, doc = "The tenant of each sender's domain." },
    smarthosts = { type = "map", default = {}, doc = "The smart host of each tenant, as host:port." },
  },
}

-- A mistake in the settings is found while the plugin loads, not by the first message.
for domain, tenant in pairs(config.senders) do
  if not config.smarthosts[tenant] then
    error("[plugin.tenants] senders: " .. domain .. " belongs to " .. tostring(tenant) .. ", which has no smart host")
  end
end

function on.mail(m)
  local tenant = config.senders[m.sender.domain]
  if tenant then
    m:schedule { tenant = tenant } -- the queue is fair to tenants, and listings name them
    m:add_header("X-Tenant", tenant)
  end
end

function on.route(r)
  local host = r.class == "relay" and config.smarthosts[r.message.tenant or ""]
  if host then
    return route { hosts = { host } }
  end
end
