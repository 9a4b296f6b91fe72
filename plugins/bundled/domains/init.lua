-- A recipient in one of our domains is accepted as local. Which mailboxes there are is for other plugins to say.

local label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
local pattern = [[^\.?(]] .. label .. [[\.)*]] .. label .. "$"

-- Where the operator names a lookup, it is asked for each of them; what a list holds is checked now.
local inline = type(config.domains) == "table"
local ours, first = {}, nil
for _, text in ipairs(inline and config.domains or {}) do
  local name = type(text) == "string" and string.lower(text) or ""
  if not re.match(pattern, name) then
    error("[plugin.domains] domains: " .. tostring(text) .. ' is not a domain; write "example.org", or ".example.org" for all below it', 0)
  end
  ours[name] = true
  if not first and string.sub(name, 1, 1) ~= "." then first = name end
end

local function has(name)
  if inline then return ours[name] end
  return lookup("config.domains", name)
end

local function listed(domain)
  if has(domain) then return true end
  local dot = string.find(domain, ".", 1, true)
  while dot do
    if has(string.sub(domain, dot)) then return true end
    dot = string.find(domain, ".", dot + 1, true)
  end
  return false
end

function on.rcpt(r)
  local domain = r.address.domain
  if domain == "" and first then -- RCPT TO:<postmaster>, RFC 5321 section 4.5.1
    r:rename("postmaster@" .. first)
    return accept "local"
  end
  if listed(domain) then return accept "local" end
end
