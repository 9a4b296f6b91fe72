-- Names and what is kept of their passwords stand in `users`. Whether a password is the right one is a question to the service;
-- for SCRAM the server does the exchange itself, and only wants the keys.

-- It is checked for a name that is not there, so that this takes as long as for one that is: a hash of a password that nobody knows, or
-- the most expensive one in the configuration.
local decoy = config.decoy or "$argon2id$v=19$m=19456,t=2,p=1$TvZB9j1gPbUABoby8WLeDQ$eLa+0jbaGSVIRANiny7jSsqyuL3YsOH8xj+yJm+QjbA"

-- Takes "HASH groups=a,b" apart.
local function split(entry)
  if type(entry) ~= "string" then error("there is nothing but the name", 0) end
  local hash, rest = string.match(entry, "^(%S+)%s*(.-)%s*$")
  local groups = {}
  if not hash then
    error("there is nothing but the name", 0)
  elseif rest ~= "" then
    if not re.match("^groups=[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*$", rest) then
      error("behind the hash may stand groups only, as groups=staff,admins", 0)
    end
    for group in string.gmatch(string.sub(rest, 8), "[^,]+") do groups[#groups + 1] = group end
  end
  return hash, groups
end

-- An error of a service without the place in this file.
local function why(text) return (string.gsub(text, "^.-password%.%a+: ", "")) end

-- What a check costs, roughly, in KiB and passes of argon2id.
local function cost(hash)
  local rounds = string.match(hash, "^%$2[aby]%$(%d%d)%$")
  if rounds then return 2 ^ rounds * 80 end
  local memory, passes = string.match(hash, "^%$argon2id%$v=%d+%$m=(%d+),t=(%d+),")
  if memory then return memory * passes end
  return (tonumber(string.match(hash, "^SCRAM%-SHA%-256%$(%d+):")) or 0) * 0.5
end

-- A mistake in a list is found here and not by who logs in.
if config.decoy then
  local ok, text = pcall(password.scheme, config.decoy)
  if not ok then error("[plugin.auth] decoy: " .. why(text), 0) end
end
if type(config.users) == "table" then
  for name, entry in pairs(config.users) do
    local ok, text = pcall(function() password.scheme((split(entry))) end)
    if not ok then
      error("[plugin.auth] users: " .. name .. ": " .. why(text), 0)
    elseif name ~= string.lower(name) then
      error("[plugin.auth] users: " .. name .. ": write names in lower case; they are found in any", 0)
    end
    local hash = split(entry)
    if not config.decoy and cost(hash) > cost(decoy) then decoy = hash end
  end
end

function on.auth(l)
  if l.kind ~= "password" and l.kind ~= "scram" then return end
  local name = string.lower(l.name)
  local entry = lookup("config.users", name)
  if not entry then
    if l.kind == "password" then password.verify(decoy, l.password or "") end
    return
  end
  local ok, hash, groups = pcall(split, entry)
  if not ok then error("users: " .. name .. ": " .. hash, 0) end
  if l.kind == "scram" then
    if string.sub(hash, 1, 14) == "SCRAM-SHA-256$" then return accept { user = name, groups = groups, scram = hash } end
    return
  end
  local known, right = pcall(password.verify, hash, l.password or "")
  if not known then error("users: " .. name .. ": " .. why(right), 0) end
  if right then return accept { user = name, groups = groups } end
end
