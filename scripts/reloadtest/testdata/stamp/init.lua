plugin {
  id = "stamp",
  version = "1.0.0",
  description = "writes its version into each message, at each stage that a transaction passes",
  needs = { edit = { "headers" } },
  config = { word = { type = "string", default = "", doc = "the part of the version that the operator sets" } },
}

local version = "VERSION" .. "/" .. require "lib/part" .. "/" .. config.word

function on.mail(m)
  m:add_header("X-Stamp-Mail", version)
  m.my.version = version
end

function on.rcpt(r)
  r.message:add_header("X-Stamp-Rcpt", version)
end

function on.data(m)
  m:add_header("X-Stamp-Fact", m.my.version)
  m:add_header("X-Stamp-Data", version)
end

function on.queue(m)
  m:add_header("X-Stamp-Queue", version)
end
