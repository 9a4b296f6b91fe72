-- NAME: say here what it is for. The file is live as soon as it is saved; "stagepost manual plugins" says what can stand in it.

plugin {
  id = "NAME", -- the name of the file
  version = "0.1.0",
  description = "does nothing yet",
  -- needs = { read = "headers", edit = { "headers" } }, -- what it may do besides answering
  -- config = { word = { type = "string", default = "hello" } }, -- what may stand under [plugin.NAME], read as config.word
}

-- A handler answers with a verdict, or with nothing, which is "no opinion". Others there are: on.connect, on.helo, on.mail, on.data,
-- on.queue, on.route, on.deliver ... Each is asked for all mail, so keep it short.
function on.rcpt(r)
  -- if r.address.domain == "example.com" then
  --   return reject "we do not write to example.com"
  -- end
end
