-- A recipient that nobody wants as local is accepted for relaying if the client may relay: it comes from one of the
-- networks, it has logged in, or its mail comes in one of the roles.

local hex = "[0-9a-fA-F]{1,4}"
local group = hex .. "(:" .. hex .. ")*"
local ipv6 = "^((" .. hex .. ":){7}" .. hex .. "|(" .. group .. ")?::(" .. group .. ")?)$"

-- width gives the bits of an address, 32 or 128; nil if it is none.
local function width(address)
  local bytes = { string.match(address, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  for _, byte in ipairs(bytes) do
    if tonumber(byte) > 255 or string.find(byte, "^0%d") then return nil end
  end
  if #bytes == 4 then return 32 end
  local _, groups = string.gsub(address, "%x+", "")
  if groups <= 8 and re.match(ipv6, address) then return 128 end
end

-- A mistake in the list is found here and not by the first client.
for _, text in ipairs(config.networks) do
  local address, bits = string.match(tostring(text), "^(.-)/(%d+)$")
  local most = width(address or tostring(text))
  if type(text) ~= "string" or not most then
    error("[plugin.relay] networks: " .. tostring(text) .. ' is not a network, such as "192.0.2.0/24" or "2001:db8::/32"', 0)
  elseif bits and tonumber(bits) > most then
    error("[plugin.relay] networks: " .. text .. " has more than " .. most .. " bits", 0)
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

function on.rcpt(r)
  if r.class then return end
  local s = r.message.session
  if roles[s.role] or config.authenticated and s.user or s.ip and addr.within(s.ip, config.networks) then
    return accept "relay"
  end
end
