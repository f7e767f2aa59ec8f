// spymemcached for Java: keys are spread over all servers; one that fails is left out, and requests that it has not
// answered go to another.
//
// SCRIPT version
// SCRIPT SERVICE ADDRESS,… NAME    until the end of the input
//
// testkit/src/languages/mod.rs describes the lines.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;

import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.ConnectionFactory;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;

public class Spymemcached {
    // The longest wait for a lifetime of a second to end, and for an operation.
    private static final long EXPIRES_WITHIN_MS = 20_000;
    private static final long WITHIN_MS = 2_000;

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    /** Compares a result with what it must be, and says the comparison. */
    private static void equal(String what, Object wanted, Callable<Object> work) {
        String wrong = null;
        try {
            Object got = work.call();
            if (!Objects.equals(got, wanted)) {
                wrong = got + ", expected " + wanted;
            }
        } catch (Exception error) {
            wrong = error.toString();
        }
        say("{\"check\":" + quoted(what) + ",\"wrong\":" + (wrong == null ? "null" : quoted(wrong)) + "}");
    }

    private static void check(MemcachedClient client, String name) {
        Map<String, Object> many = new HashMap<>();
        for (int number = 0; number < 300; number++) {
            many.put(name + number, number);
        }
        String large = "0123456789".repeat(60_000);
        equal("set of text", true, () -> client.set(name + "text", 0, "Grüße").get());
        equal("get of text", "Grüße", () -> client.get(name + "text"));
        equal("set of an object", true, () -> client.set(name + "object", 0, new java.util.ArrayList<>(List.of(1, "x"))).get());
        equal("get of an object", List.of(1, "x"), () -> client.get(name + "object"));
        equal("get of nothing", null, () -> client.get(name + "missing"));
        equal("set of many", true, () -> {
            boolean all = true;
            for (Map.Entry<String, Object> entry : many.entrySet()) {
                all &= client.set(entry.getKey(), 0, entry.getValue()).get();
            }
            return all;
        });
        equal("getBulk", many, () -> client.getBulk(many.keySet()));
        equal("add of what is there", false, () -> client.add(name + "text", 0, "x").get());
        equal("add", true, () -> client.add(name + "new", 0, "x").get());
        equal("replace of nothing", false, () -> client.replace(name + "none", 0, "x").get());
        equal("replace", true, () -> client.replace(name + "new", 0, "y").get());
        equal("append", true, () -> client.append(name + "new", "z").get());
        equal("prepend", true, () -> client.prepend(name + "new", "x").get());
        equal("get of what was appended", "xyz", () -> client.get(name + "new"));
        equal("incr with a first value", 10L, () -> client.incr(name + "count", 5, 10));
        equal("incr", 15L, () -> client.incr(name + "count", 5));
        equal("decr below zero", 0L, () -> client.decr(name + "count", 20));
        equal("incr of nothing", -1L, () -> client.incr(name + "missing", 1));
        equal("cas", CASResponse.OK, () -> client.cas(name + "new", client.gets(name + "new").getCas(), "a"));
        equal("cas of an old version", CASResponse.EXISTS, () -> client.cas(name + "new", 1, "b"));
        equal("cas of nothing", CASResponse.NOT_FOUND, () -> client.cas(name + "missing", 1, "b"));
        equal("set with a lifetime", true, () -> client.set(name + "brief", 1, "x").get());
        equal("touch", true, () -> client.touch(name + "text", 600).get());
        equal("touch of nothing", false, () -> client.touch(name + "missing", 600).get());
        equal("the end of a lifetime", true, () -> {
            long deadline = System.currentTimeMillis() + EXPIRES_WITHIN_MS;
            while (client.get(name + "brief") != null && System.currentTimeMillis() < deadline) {
                Thread.sleep(50);
            }
            return client.get(name + "brief") == null;
        });
        equal("delete", true, () -> client.delete(name + "text").get());
        equal("delete of nothing", false, () -> client.delete(name + "text").get());
        equal("get of what was deleted", null, () -> client.get(name + "text"));
        equal("set of a large value", true, () -> client.set(name + "large", 0, large).get());
        equal("get of a large value", true, () -> large.equals(client.get(name + "large")));
        equal("getVersions", true, () -> client.getVersions().size() > 0);
        equal("getStats", true, () -> client.getStats().values().stream().anyMatch(figures -> figures.containsKey("uptime")));
        equal("clear", true, () -> client.flush().get());
        equal("get after a clear", null, () -> client.get(name + "object"));
    }

    private static String shown(Object value) {
        return value == null ? "null" : quoted(value.toString());
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        Logger.getLogger("net.spy.memcached").setLevel(Level.OFF);
        say("{\"client\":\"spymemcached\",\"version\":\"" + System.getProperty("spymemcached.version", "2.12.3") + "\"}");
        if (arguments[0].equals("version")) {
            Class.forName("net.spy.memcached.MemcachedClient");
            return;
        }
        ConnectionFactory factory = new ConnectionFactoryBuilder()
            .setProtocol(ConnectionFactoryBuilder.Protocol.TEXT)
            .setFailureMode(FailureMode.Redistribute)
            .setHashAlg(DefaultHashAlgorithm.KETAMA_HASH)
            .setLocatorType(ConnectionFactoryBuilder.Locator.CONSISTENT)
            .setOpTimeout(WITHIN_MS)
            .setMaxReconnectDelay(1)
            .setDaemon(true)
            .build();
        MemcachedClient client = new MemcachedClient(factory, AddrUtil.getAddresses(Arrays.asList(arguments[1].split(","))));
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("check")) {
                check(client, words[1]);
                say("{\"done\":true}");
                continue;
            }
            try {
                switch (words[0]) {
                    case "get" -> say("{\"values\":[" + shown(client.get(words[1])) + "]}");
                    case "many" -> {
                        List<String> keys = Arrays.asList(words).subList(1, words.length);
                        Map<String, Object> found = client.getBulk(keys);
                        say("{\"values\":[" + String.join(",", keys.stream().map(key -> shown(found.get(key))).toList()) + "]}");
                    }
                    default -> {
                        boolean isSet = words[0].equals("set");
                        var future = isSet ? client.set(words[1], 0, words[2]) : client.delete(words[1]);
                        boolean isDone = future.get(WITHIN_MS, TimeUnit.MILLISECONDS);
                        boolean isMiss = !isSet && future.getStatus().getStatusCode() == net.spy.memcached.ops.StatusCode.ERR_NOT_FOUND;
                        say(isDone || isMiss ? "{\"ok\":true}" : "{\"error\":" + quoted(future.getStatus().getMessage()) + "}");
                    }
                }
            } catch (Exception error) {
                say("{\"error\":" + quoted(error.toString()) + "}");
            }
        }
        System.exit(0);
    }
}
