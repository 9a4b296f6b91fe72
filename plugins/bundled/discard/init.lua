-- Mail is dropped as late as possible: what every other plugin refuses is still refused.

local label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
local pattern = [[^\.?(]] .. label .. [[\.)*]] .. label .. "$"

local dropped = {}
local any = #config.domains > 0
for _, text in ipairs(config.domains) do
  local name = type(text) == "string" and string.lower(text) or ""
  if not re.match(pattern, name) then
    error("[plugin.discard] domains: " .. tostring(text) .. ' is not a domain; write "example.org", or ".example.org" for all below it', 0)
  end
  dropped[name] = true
end

local function listed(domain)
  if dropped[domain] then return true end
  local dot = string.find(domain, ".", 1, true)
  while dot do
    if dropped[string.sub(domain, dot)] then return true end
    dot = string.find(domain, ".", dot + 1, true)
  end
  return false
end

function on.rcpt(r)
  if any and r.class and listed(r.address.domain) then return discard("mail for " .. r.address.domain .. " is dropped") end
end

function on.queue(m)
  if config.all then return discard "all mail is dropped" end
end
