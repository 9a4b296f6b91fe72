-- A recipient that nobody wants as local is accepted for relaying if the client may relay: it comes from one of the
-- networks, it has logged in, or its mail comes in one of the roles.

-- A mistake in the list is found here and not by the first client.
local inline = type(config.networks) == "table"
if inline then
  local ok, why = pcall(addr.within, "::", config.networks)
  if not ok then
    error("[plugin.relay] networks: " .. string.gsub(why, "^.-addr%.within: ", ""), 0)
  end
end

local known = { submission = true, lmtp = true, api = true, sendmail = true }
local roles = {}
for _, role in ipairs(config.roles) do
  if role == "mx" then
    error("[plugin.relay] roles: with mx every stranger could relay through this server; list networks instead", 0)
  elseif not known[role] then
    error("[plugin.relay] roles: " .. tostring(role) .. " is not one of submission, lmtp, api, sendmail", 0)
  end
  roles[role] = true
end

local function near(ip)
  if inline then return addr.within(ip, config.networks) end
  return lookup("config.networks", ip)
end

function on.rcpt(r)
  if r.class then return end
  local s = r.message.session
  local ip = s.ip
  if ip and near(ip) or config.authenticated and s.user or roles[s.role] then
    return accept "relay"
  end
end
