# Dalli with memcached's meta protocol: keys are spread over all servers; one that fails is left out.
#
# SCRIPT version
# SCRIPT SERVICE ADDRESS,… NAME    until the end of the input
#
# testkit/src/languages/mod.rs describes the lines.

require 'dalli'
require 'json'

# The first version that speaks the meta protocol, and the longest wait for a lifetime of a second to end.
META_SINCE = Gem::Version.new('3.2.0')
EXPIRES_WITHIN_S = 20

Dalli.logger.level = Logger::FATAL
$stdout.sync = true

def say(line)
  puts JSON.generate(line)
end

# Compares a result with what it must be, and says the comparison.
def equal(what, wanted)
  got = yield
  say(check: what, wrong: got == wanted ? nil : "#{got.inspect[0, 300]}, expected #{wanted.inspect[0, 300]}")
rescue StandardError => e
  say(check: what, wrong: e.inspect)
end

def fails(what, kind)
  say(check: what, wrong: "#{yield.inspect}, expected #{kind}")
rescue kind
  say(check: what, wrong: nil)
rescue StandardError => e
  say(check: what, wrong: e.inspect)
end

# A lifetime ends.
def ends(what)
  equal(what, true) do
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + EXPIRES_WITHIN_S
    sleep(0.05) until (gone = yield) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    gone
  end
end

def connect(addresses, **more)
  Dalli::Client.new(addresses, protocol: :meta, socket_timeout: 1, socket_failure_delay: 0.01,
                               down_retry_delay: 1, **more)
end

def check(client, raw, name)
  many = (0...300).to_h { |number| ["#{name}#{number}", number] }
  value = { list: [1, 2.5, nil], bytes: "\r\n\0" }
  equal('set of text', true) { client.set("#{name}text", 'Grüße') ? true : false }
  equal('get of text', 'Grüße') { client.get("#{name}text") }
  equal('set of an object', true) { client.set("#{name}object", value) ? true : false }
  equal('get of an object', value) { client.get("#{name}object") }
  equal('get of nothing', nil) { client.get("#{name}missing") }
  equal('set_multi', many) do
    client.multi { many.each { |key, number| client.set(key, number) } }
    client.get_multi(*many.keys)
  end
  equal('fetch', 'made') { client.fetch("#{name}lazy", 100) { 'made' } }
  equal('fetch of what is there', 'made') { client.fetch("#{name}lazy", 100) { 'other' } }
  equal('add of what is there', false) { client.add("#{name}text", 'x') ? true : false }
  equal('add', true) { client.add("#{name}new", 'x') ? true : false }
  equal('replace of nothing', false) { client.replace("#{name}none", 'x') ? true : false }
  equal('replace', true) { client.replace("#{name}new", 'y') ? true : false }
  equal('set of bytes', true) { raw.set("#{name}log", 'b') ? true : false }
  equal('append', true) { raw.append("#{name}log", 'c') ? true : false }
  equal('prepend', true) { raw.prepend("#{name}log", 'a') ? true : false }
  equal('get of what was appended', 'abc') { raw.get("#{name}log") }
  equal('incr with a first value', 10) { client.incr("#{name}count", 5, 100, 10) }
  equal('incr', 15) { client.incr("#{name}count", 5) }
  equal('decr below zero', 0) { client.decr("#{name}count", 20) }
  equal('incr of nothing', nil) { client.incr("#{name}missing", 1) }
  equal('cas', true) { client.cas("#{name}new") { |was| "#{was}!" } ? true : false }
  equal('get of what was changed by cas', 'y!') { client.get("#{name}new") }
  equal('cas of nothing', nil) { client.cas("#{name}missing") { 'x' } }
  equal('set with a lifetime', true) { client.set("#{name}brief", 'x', 1) ? true : false }
  equal('touch', true) { client.touch("#{name}text", 600) ? true : false }
  equal('touch of nothing', false) { client.touch("#{name}missing", 600) ? true : false }
  equal('gat', 'Grüße') { client.gat("#{name}text", 600) }
  equal('set of a compressed value', true) { client.set("#{name}zip", 'z' * 50_000, 100, compress: true) ? true : false }
  equal('get of a compressed value', 'z' * 50_000) { client.get("#{name}zip") }
  equal('a key that needs base64', 'x') { client.set("#{name}ключ key", 'x') && client.get("#{name}ключ key") }
  ends('the end of a lifetime') { client.get("#{name}brief").nil? }
  equal('delete', true) { client.delete("#{name}text") ? true : false }
  equal('delete of nothing', false) { client.delete("#{name}text") ? true : false }
  equal('get of what was deleted', nil) { client.get("#{name}text") }
  large = Random.bytes(900_000)
  equal('set of a large value', true) { raw.set("#{name}large", large) ? true : false }
  equal('get of a large value', true) { raw.get("#{name}large").b == large }
  equal('stats', true) { client.stats.values.all? { |figures| figures.key?('uptime') } }
  equal('clear', true) { client.flush.all? }
  equal('get after a clear', nil) { client.get("#{name}object") }
end

abort("Dalli #{Dalli::VERSION} has no meta protocol") if Gem::Version.new(Dalli::VERSION) < META_SINCE
say(client: 'Dalli (meta)', version: Dalli::VERSION)
exit if ARGV[0] == 'version'

servers = ARGV[1].split(',')
client = connect(servers)
raw = connect(servers, raw: true)
$stdin.each_line do |line|
  command, *words = line.split
  if command == 'check'
    check(client, raw, words[0])
    say(done: true)
    next
  end
  begin
    case command
    when 'get' then say(values: [client.get(words[0])])
    when 'many' then say(values: client.get_multi(*words).values_at(*words))
    when 'set'
      raise 'not stored' unless client.set(words[0], words[1])

      say(ok: true)
    when 'delete'
      client.delete(words[0])
      say(ok: true)
    end
  rescue StandardError => e
    say(error: e.inspect)
  end
end
