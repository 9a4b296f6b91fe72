-- A first plugin. Change it and save it while the server runs: the next message meets the new one. A file with a mistake
-- changes nothing; the server says where the mistake is and goes on as before.

-- What the plugin is and what it may do. This table is read, never run.
plugin {
  id = "hello", -- the name of the file
  version = "1.0.0",
  description = "adds a header, refuses one recipient, ends local mail",
  needs = { edit = { "headers" } },
}

-- Asked for each recipient. Another plugin, domains, says who is wanted; this one refuses somebody. No answer is "no opinion".
function on.rcpt(r)
  if r.address.mailbox == "nobody" then
    return reject "nobody reads this mailbox"
  end
end

-- Asked when the whole message is here, before the client gets its reply.
function on.data(m)
  m:add_header("X-Hello", "this message met hello.lua")
end

-- Asked when a recipient is due. Real mail would get a route here: route{ hosts = { "127.0.0.1:2526" } }. In this first example
-- it ends.
function on.route(r)
  if r.class == "local" then
    return discard "hello.lua ends local mail"
  end
end
