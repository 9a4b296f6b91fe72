-- A sender is rewritten to SRS0=HASH=TT=DOMAIN=LOCAL at our domain; one that was rewritten elsewhere, to SRS1=HASH=DOMAIN=REST, which
-- leads back there. The hash is over what follows it, in lower case, so a server on the way may change the case of letters.

local days = math.floor(config.keep / 86400)
local domain = config.domain and addr.parse("x@" .. config.domain)
if config.domain and not domain then
  error('[plugin.srs] domain: name one of our domains, as domain = "example.org"', 0)
elseif days < 1 or days > 1000 then
  error("[plugin.srs] keep: write a time from 1d to 1000d", 0)
elseif config.hash_length < 4 or config.hash_length > 20 then
  error("[plugin.srs] hash_length: write a number from 4 to 20", 0)
elseif not re.match("^[=+-]$", config.separator) then
  error("[plugin.srs] separator: write =, + or -", 0)
elseif type(config.secrets) ~= "table" or #config.secrets == 0 then
  error('[plugin.srs] secrets: write a list of names, as ["srs/key"]', 0)
end
for _, name in ipairs(config.secrets) do
  if type(name) ~= "string" or not re.match("^srs(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", name) then error("[plugin.srs] secrets: " .. tostring(name) .. " is not the name of a secret that begins with srs/", 0) end
end
local mine = domain and domain.domain
local inline = type(config.domains) == "table"
local listed = {}
for _, name in ipairs(inline and config.domains or {}) do
  if type(name) ~= "string" or not re.match([[^\.?[a-z0-9-]+(\.[a-z0-9-]+)*$]], string.lower(name)) then
    error("[plugin.srs] domains: " .. tostring(name) .. ' is not a domain; write "example.org", or ".example.org" for all below it', 0)
  end
  listed[string.lower(name)] = true
end

local function has(name)
  if inline then return listed[name] end
  return lookup("config.domains", name)
end

local function ours(domain)
  if domain == "" or domain == mine or has(domain) then return true end
  local dot = string.find(domain, ".", 1, true)
  while dot do
    if has(string.sub(domain, dot)) then return true end
    dot = string.find(domain, ".", dot + 1, true)
  end
  return false
end

local base = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
local function digit(n) return string.sub(base, n % 32 + 1, n % 32 + 1) end

local function today() return math.floor(now() / 86400) end
local function stamp() return digit(math.floor(today() / 32)) .. digit(today()) end

-- Whether a stamp is not too old. It counts 1,024 days and begins anew.
local function fresh(text)
  local high = #text == 2 and string.find(base, string.sub(text, 1, 1), 1, true)
  local low = high and string.find(base, string.sub(text, 2, 2), 1, true)
  return low and (today() - (high - 1) * 32 - (low - 1)) % 1024 <= days
end

local function sign(name, text)
  local key = secret(name)
  if not key then error("there is no secret " .. name) end
  return hash.hmac("sha1", key, string.lower(text), "base64")
end

local function seal(text) return string.sub(sign(config.secrets[1], text), 1, config.hash_length) end

-- Whether any of our secrets signed the text so.
local function sealed(given, text)
  if #given < config.hash_length then return false end
  for _, name in ipairs(config.secrets) do
    if string.lower(string.sub(sign(name, text), 1, #given)) == string.lower(given) then return true end
  end
  return false
end

-- The address with that local part, in quotes where they are needed.
local function write(mailbox, domain)
  if not re.match([[^[^\x00- "(),:;<>@\[\\\]\x7f.]+(\.[^\x00- "(),:;<>@\[\\\]\x7f.]+)*$]], mailbox) then
    mailbox = '"' .. string.gsub(mailbox, '["\\]', "\\%0") .. '"'
  end
  return mailbox .. "@" .. domain
end

local function tag(kind) return "SRS" .. kind .. config.separator end

-- What the sender becomes; nil where it would be longer than a local part may be (RFC 5321 section 4.5.3.1.1).
local function rewrite(sender)
  local kind, rest = string.match(sender.mailbox, "^[sS][rR][sS]([01])([-+=].+)$")
  local text
  if kind == "1" then
    local host, inner = string.match(rest, "^.[^=]*=([^=]+)=(.+)$")
    if host then text = tag(1) .. seal(host .. inner) .. "=" .. host .. "=" .. inner end
  elseif kind == "0" then
    text = tag(1) .. seal(sender.domain .. rest) .. "=" .. sender.domain .. "=" .. rest
  end
  if not text then
    local at = stamp()
    text = tag(0) .. seal(at .. sender.domain .. sender.mailbox) .. "=" .. at .. "=" .. sender.domain .. "=" .. sender.mailbox
  end
  text = write(text, mine)
  if #text - #mine - 1 <= 64 and addr.parse(text) then return text end
end

-- One that is too long is kept, and its hash stands where the domain and the local part would.
local function remember(sender)
  local name = string.sub(hash.sha256(sender.text), 1, 32)
  local at = stamp()
  if pcall(kv.set, name, sender.text, (days + 1) * 86400) then
    return tag(0) .. seal(at .. name) .. "=" .. at .. "==" .. name .. "@" .. mine
  end
  log.warn("a sender is too long to be rewritten, and cannot be kept; the message goes under its own", { sender = sender.text })
end

function on.route(r)
  local sender = r.message.sender
  if not mine or sender.text == "" or ours(sender.domain) or ours(r.address.domain) then return end
  if r.class == "local" and r.address.text == r.original.text then return end -- it stays here
  local text = rewrite(sender) or remember(sender)
  if text then
    metric.count("rewritten")
    return route { sender = text }
  end
end

local function refuse(text)
  metric.count("refused")
  return reject { enhanced = "5.1.1", reason = "srs", text = text }
end

function on.rcpt(r)
  if not mine or r.address.domain ~= mine then return end
  local kind, rest = string.match(r.address.mailbox, "^[sS][rR][sS]([01])[-+=](.+)$")
  if not kind then return end
  local text
  if kind == "1" then
    local given, host, inner = string.match(rest, "^([^=]*)=([^=]+)=([-+=].+)$")
    if not given or not sealed(given, host .. inner) then return refuse "this address was not made here" end
    text = write("SRS0" .. inner, string.lower(host))
  else
    local given, at, host, mailbox = string.match(rest, "^([^=]*)=([^=]*)=([^=]*)=(.+)$")
    if not given or not sealed(given, at .. host .. mailbox) then return refuse "this address was not made here" end
    if not fresh(string.upper(at)) then return refuse "this address is too old" end
    text = host == "" and kv.get(string.lower(mailbox)) or host ~= "" and write(mailbox, string.lower(host)) or nil
  end
  if not text or not addr.parse(text) then return refuse "this address leads nowhere" end
  metric.count("taken_back")
  r:rename(text)
  return accept "relay"
end
