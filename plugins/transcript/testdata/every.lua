-- A plugin with a hook at every stage that is asked, for the tests of transcripts: what it does is said by names and by its settings.
plugin {
  id = "every",
  version = "1.0.0",
  description = "has a hook at every stage",
  needs = { inject = true, dns = true, spf = true, kv = "own", relay = true, read = "body", edit = {"headers", "sender", "rcpts", "body"}, route = { "mx", "*" }, facts = { "other.*" } },
  config = {
    list = { type = "list", default = {}, doc = "Domains." },
    wait = { type = "duration", default = "0s", doc = "A delay." },
    word = { type = "string", default = "none", doc = "A word." },
    hand = { type = "string", default = "", doc = "What it hands in." }, size = { type = "int", default = 0, doc = "A number." },
  },
  hook = { mail = { on_error = "next" }, queue = { on_error = "reject" }, rcpt = { reads = { "spam.score?" } } },
}

if config.size < 0 then error("[plugin.every] size: it is less than nothing", 0) end
local function checked(m) for _, sender in ipairs { m.sender.text, false } do local r = spf.check { ip = m.session.ip, helo = m.session.helo, sender = sender or nil } log.info("checked", { identity = r.identity, result = r.result, explanation = r.explanation, mechanism = r.mechanism, problem = r.problem }) end end
function on.connect(s)
  s.my.early = s.early
  if s.ip == "192.0.2.66" then return close "not you" end
  if s.ip == "192.0.2.67" then return reject { text = "go away", code = 554, delay = config.wait } end
end

function on.helo(s)
  s.my.name = s.helo
  if s.helo == "bad.example" then return defer "that name is bad" end
end

function on.mail(m)
  local domain = m.sender.domain
  if domain == "dns.example" then
    log.info("looked up", { n = #dns.get(domain, "MX"), text = table.concat(dns.get(domain, "TXT"), "|") })
  end
  if domain == "count.example" then m.my.count = kv.incr("count", 1, 60) elseif domain == "spf.example" then checked(m) end
  m:schedule { tenant = domain, priority = 3 }
  if domain == "later.example" then m:schedule { not_before = now() + 300, expires = now() + 86400 } end
  if domain == "drop.example" then return discard "nobody reads it" end
end

function on.rcpt(r)
  r.my.seen = { r.address.mailbox, true, 2.5 }
  local score = r.message.facts["spam.score"]
  if score and score > 5 then return reject { text = "spam", reason = "score" } end
  if r.address.mailbox == "two" then r:rename { "one@example.org", "other@example.org" } end
  if r.address.mailbox == "slow" then return reject { text = "so slow", delay = 7 } end
  if r.address.domain == "example.org" then return accept "local" end
  if r.address.domain == "example.net" then return accept "relay" end
end

function on.data(m)
  m:add_header("X-Every", config.word)
  m.my.size = m.content.size
  if m:header("Subject") == "hold" then return hold "it asks for it" end
  if m:header("Subject") == "error" then error("it asks for it") end
  if m:header("Subject") == "compose" then
    m:set_content { subject = "composed", text = "plain\n", html = "<p>plain</p>\n" }
  end
  if m:header("Subject") == "rewrite" then
    m:rewrite(function(chunk, last)
      if chunk:find("broken") then error("half-way") end
      return chunk:upper() .. (last and "the end" or "")
    end)
  end
  if m:header("Subject") == "each" then
    return each(function(r)
      r:add_header("X-For", r.address.mailbox)
      local says = { none = reject "nobody", busy = defer "busy", odd = hold "odd", void = discard "void" }
      return says[r.address.mailbox]
    end)
  end
end

function on.queue(m)
  if m:header("Subject") == "now" then return route { hosts = { "now.example:25" } } end
end

function on.route(r)
  local box = r.address.mailbox
  if box == "bad" then return reject { text = "cannot be reached", enhanced = "5.4.4" } end
  if box == "drop" then return discard "no" end
  if box == "keep" then return hold "yes" end
  if box == "later" then return defer { text = "wait", after = 60 } end
  if r.class == "local" then return route { via = "every" } end
  return route { hosts = { "a.example", "b.example:26" }, helo = "me.example", sender = "back@example.org", source = "pool", site = "Bulk", tls = "verified" }
end

function on.deliver(d)
  if d.parcel then
    log.info("parcel", { from = d.parcel.from, key = d.parcel.key, number = d.number, content = d.parcel.content })
    if d.number == 1 and d.parcel.key == "p" then return defer "later" end
    return accept()
  end
  if #d.rcpts == 1 then
    kv.set(d.rcpts[1].key, d.number, 3600)
    return accept()
  end
  return each(function(r)
    if r.address.mailbox == "full" then return defer { text = "full", enhanced = "4.2.2" } end
    if r.address.mailbox == "none" then return reject "no such mailbox" end
    return accept()
  end)
end

function on.delivered(r) log.info("delivered", { to = r.address.text, code = r.last.code }) end

function on.deferred(r)
  if r.attempts >= 3 then return reject "three times are enough" end
  return defer { after = 3600 }
end

function on.bounced(r)
  if r.address.mailbox == "quiet" then return discard "nobody cares" end
end

function on.disconnect(s)
  metric.count("left")
  metric.count("errors", s.errors)
  log.info("left", { ip = s.ip, errors = s.errors })
end

function on.tick(t)
  if config.hand == "mail" then
    local id = inject { sender = "", rcpts = { "u@example.org", "v@example.net" }, content = "Subject: caf\195\169\nFrom: <me@example.org>\n\nhello\n", key = "today" }
    kv.set("mail", id, 60)
  elseif config.hand == "parcel" then
    inject { via = "every", content = { n = 1, list = { "a" } }, key = "p" }
    inject { via = "every", content = "alone" }
  end
  kv.incr("ticks", 1, 60)
  log.info("tick", { at = t.time - 1767268800 }) -- since the beginning of a case
end
