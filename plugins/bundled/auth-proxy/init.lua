-- Logs in at another mail server with what the client gave (RFC 4954), and takes its word. Nothing is kept.

if config.server and not re.match([[^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$]], config.server) then
  error('[plugin.auth-proxy] server: write host and port, as "mail.example.org:465"', 0)
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

-- A reply: its code, and the texts of its lines.
local function reply(server)
  local texts = {}
  for _ = 1, 100 do
    local line = server:line()
    if not line then error("the server closed the connection", 0) end
    local code, more, text = string.match(line, "^([2-5]%d%d)([ -]?)(.*)$")
    if not code then error("the server says what is no reply", 0) end
    texts[#texts + 1] = text
    if more ~= "-" then return tonumber(code), texts end
  end
  error("the server's reply has no end", 0)
end

local function command(server, text)
  server:send(text .. "\r\n")
  return reply(server)
end

local function expect(want, what, code, texts)
  if code ~= want then error("the server answers " .. what .. " with " .. code .. " " .. texts[#texts], 0) end
  return texts
end

-- Refusals that are about this server and not about the user: syntax, order, a mechanism or encryption that is missing.
local ours = { [500] = true, [501] = true, [502] = true, [503] = true, [504] = true, [530] = true, [538] = true }

-- Whether the server lets the client in.
local function ask(l)
  local server = net.open(config.server, { tls = config.tls })
  expect(220, "the connection", reply(server))
  local ip = l.session.local_ip or "127.0.0.1"
  if string.find(ip, ":", 1, true) then ip = "IPv6:" .. ip end
  local plain, login, starttls
  for _, text in ipairs(expect(250, "EHLO", command(server, "EHLO [" .. ip .. "]"))) do
    text = string.upper(text)
    starttls = starttls or text == "STARTTLS"
    if string.find(text, "^AUTH[ =]") then
      for word in string.gmatch(string.sub(text, 6), "%S+") do
        plain = plain or word == "PLAIN"
        login = login or word == "LOGIN"
      end
    end
  end
  local code, texts
  if plain then
    code, texts = command(server, "AUTH PLAIN " .. base64("\0" .. l.name .. "\0" .. (l.password or "")))
  elseif login then
    expect(334, "AUTH LOGIN", command(server, "AUTH LOGIN"))
    code, texts = command(server, base64(l.name))
    if code == 334 then code, texts = command(server, base64(l.password or "")) end
  elseif starttls then
    error("the server wants STARTTLS before a log-in, which is not spoken here; use its port for TLS from the beginning (465)", 0)
  else
    error("the server offers neither PLAIN nor LOGIN", 0)
  end
  server:send("QUIT\r\n")
  if code == 235 then return true end
  if code < 500 or ours[code] then expect(235, "AUTH", code, texts) end
  return false
end

function on.auth(l)
  if l.kind ~= "password" or not config.server then return end
  -- PLAIN (RFC 4616 section 2) has NUL between its parts; such a name or password would be another one there
  if string.find(l.name .. (l.password or ""), "%z") or #l.name > 1024 or #(l.password or "") > 1024 then return end
  local ok, right = pcall(ask, l)
  if not ok then
    log.error("the other server was asked in vain", { server = config.server, why = right })
    return defer { code = 454, enhanced = "4.7.0", reason = right, text = "temporary authentication failure" }
  end
  if right then return accept { user = l.name } end
end
