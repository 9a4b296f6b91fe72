-- The client's side of Dovecot's authentication protocol, version 1.1
-- (https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/): lines of fields with tabs between them.

if string.sub(config.socket, 1, 1) ~= "/" or string.find(config.socket, "[%s%c]") then
  error('[plugin.auth-dovecot] socket: write the path of a socket, as "/run/dovecot/auth-client"', 0)
end
if not string.find(config.service, "^[A-Za-z0-9_-]+$") then
  error('[plugin.auth-dovecot] service: write a word of letters and digits, as "smtp"', 0)
end

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = string.byte(text, i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 18, 0, -6 do
      local at = math.floor(n / 2 ^ shift) % 64 + 1
      out[#out + 1] = string.sub(alphabet, at, at)
    end
    if not b then out[#out - 1] = "=" end
    if not c then out[#out] = "=" end
  end
  return table.concat(out)
end

-- What stands for a character that fields cannot have, behind \1.
local escapes = { ["0"] = "\0", ["1"] = "\1", t = "\t", r = "\r", n = "\n" }

local function fields(line)
  local out = {}
  for field in string.gmatch(line .. "\t", "([^\t]*)\t") do
    out[#out + 1] = (string.gsub(field, "\1(.)", escapes))
  end
  return out
end

-- A line that must come.
local function line(dovecot)
  local text = dovecot:line()
  if not text then error("Dovecot closed the connection; its own log says why", 0) end
  return fields(text)
end

-- Both sides introduce themselves. A client is known by a number that no other connection has at the time.
local function greet(dovecot, session)
  local number = 0
  for digit in string.gmatch(string.sub(hash.sha256(session.id .. now()), 1, 7), ".") do
    number = number * 16 + string.find("0123456789abcdef", digit, 1, true) - 1
  end
  dovecot:send("VERSION\t1\t1\nCPID\t" .. number + 1 .. "\n")
  local plain = false
  for _ = 1, 100 do
    local f = line(dovecot)
    if f[1] == "VERSION" and f[2] ~= "1" then
      error("Dovecot speaks version " .. tostring(f[2]) .. " of the protocol; known is 1", 0)
    elseif f[1] == "MECH" and f[2] == "PLAIN" then
      plain = true
    elseif f[1] == "DONE" then
      if plain then return end
      error("Dovecot does not offer PLAIN; add it to auth_mechanisms", 0)
    end
  end
  error("Dovecot does not come to the end of its greeting", 0)
end

-- The user's name, or nil if Dovecot refuses him.
local function ask(l)
  local s = l.session
  local dovecot = net.open("unix:" .. config.socket)
  greet(dovecot, s)
  local request = { "AUTH", "1", "PLAIN", "service=" .. config.service, "nologin" }
  if s.local_ip then request[#request + 1] = "lip=" .. s.local_ip end
  if s.ip then request[#request + 1] = "rip=" .. s.ip end
  if s.tls then request[#request + 1] = "secured" end
  request[#request + 1] = "resp=" .. base64("\0" .. l.name .. "\0" .. (l.password or ""))
  dovecot:send(table.concat(request, "\t") .. "\n")
  for _ = 1, 100 do
    local f = line(dovecot)
    if f[2] ~= "1" then
      -- about something else
    elseif f[1] == "OK" then
      for i = 3, #f do
        local user = string.match(f[i], "^user=(.+)$")
        if user and not string.find(user, "%c") then return user end
      end
      error("Dovecot says OK, and does not name the user", 0)
    elseif f[1] == "FAIL" then
      for i = 3, #f do
        if f[i] == "temp" then error("Dovecot cannot tell now; its own log says why", 0) end
      end
      return nil
    elseif f[1] == "CONT" then
      error("Dovecot wants more than PLAIN has", 0)
    end
  end
  error("Dovecot does not answer the question", 0)
end

function on.auth(l)
  if l.kind ~= "password" then return end
  -- PLAIN (RFC 4616 section 2) has NUL between its parts; such a name or password would be another one there
  if string.find(l.name .. (l.password or ""), "%z") or #l.name > 1024 or #(l.password or "") > 1024 then return end
  local ok, user = pcall(ask, l)
  if not ok then
    log.error("Dovecot was asked in vain", { why = user })
    return defer { code = 454, enhanced = "4.7.0", reason = user, text = "temporary authentication failure" }
  end
  if user then return accept { user = user } end
end
