package org.lakepass.spark.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BrokerClientTest {
  private static final String TOKEN = "TOKEN-that-must-not-show";

  private FakeBroker broker;

  @BeforeEach
  void start() throws IOException {
    broker = new FakeBroker();
  }

  @AfterEach
  void stop() {
    broker.close();
  }

  private BrokerClient client(TokenSource token, String scope) {
    return client(token, scope, Duration.ofSeconds(10));
  }

  private BrokerClient client(TokenSource token, String scope, Duration answerTimeout) {
    Settings settings = new Settings(URI.create(broker.url()), token, scope, Duration.ofSeconds(900), Duration.ofSeconds(20), "https://login.test");
    return new BrokerClient(settings, answerTimeout);
  }

  private LakepassException failure() {
    return failure(Duration.ofSeconds(10));
  }

  private LakepassException failure(Duration answerTimeout) {
    BrokerClient client = client(TokenSource.literal(TOKEN), null, answerTimeout);
    LakepassException failure = assertThrows(LakepassException.class, () -> client.ask(null, Duration.ZERO));
    assertFalse(failure.getMessage().contains(TOKEN), failure.getMessage());
    assertFalse(failure.getMessage().contains(FakeBroker.SECRET_KEY), failure.getMessage());
    assertNull(failure.getCause(), "a cause may quote what it read");
    return failure;
  }

  private LakepassException failure(int status, String body, String... headers) {
    broker.behave((b, question) -> question.reply(status, body, headers));
    return failure();
  }

  @Test
  void asksAsTheContractSays() throws Exception {
    String scope = "[{\"path\":\"s3a://lake/users/a b/\",\"access\":\"read\"}]";
    BrokerClient.Fresh fresh = client(TokenSource.literal(TOKEN), scope).ask(null, Duration.ofSeconds(9)).orElseThrow();
    assertEquals("KEY1", fresh.keys.accessKeyId());
    assertEquals(FakeBroker.SECRET_KEY, fresh.keys.secretAccessKey());
    assertEquals(FakeBroker.SESSION_TOKEN, fresh.keys.sessionToken());
    assertEquals("\"tag1\"", fresh.tag);
    FakeBroker.Question question = broker.questions.get(0);
    assertEquals("/aws/container-credentials", question.exchange.getRequestURI().getPath());
    assertEquals(TOKEN, question.token);
    assertEquals("900", question.query.get("duration_seconds"));
    assertEquals(scope.replace(' ', '+'), question.query.get("scope"));
    assertNull(question.query.get("wait"), "nothing to wait for without keys in hand");
  }

  @Test
  void whatIsNotSetIsTheBrokersToChoose() throws Exception {
    Settings settings = Settings.read(null, Map.of("fs.s3a.lakepass.url", broker.url())::get, Map.of("fs.s3a.lakepass.token", TOKEN)::get);
    new BrokerClient(settings).ask(null, Duration.ZERO);
    assertEquals(Map.of(), broker.questions.get(0).query);
  }

  @Test
  void unchangedKeysAreNotSentAgain() throws Exception {
    BrokerClient client = client(TokenSource.literal(TOKEN), null);
    assertTrue(client.ask("\"tag1\"", Duration.ofMillis(1500)).isEmpty());
    assertEquals("1", broker.questions.get(0).query.get("wait"));
    assertTrue(client.ask("\"tag0\"", Duration.ofHours(1)).isPresent());
    assertEquals("60", broker.questions.get(1).query.get("wait"), "the most that the broker takes");
  }

  @Test
  void aWaitIsNoTimeout() throws Exception {
    BrokerClient client = client(TokenSource.literal(TOKEN), null, Duration.ofSeconds(2));
    assertTrue(client.ask("\"tag1\"", Duration.ofSeconds(3)).isEmpty(), "held for longer than an answer may take");
  }

  @Test
  void aTokenFileIsReadEachTime(@TempDir Path dir) throws Exception {
    Path file = Files.writeString(dir.resolve("token"), "first\n");
    BrokerClient client = client(TokenSource.file(file.toString()), null);
    client.ask(null, Duration.ZERO);
    Files.writeString(file, "  second  ");
    client.ask(null, Duration.ZERO);
    assertEquals("first", broker.questions.get(0).token);
    assertEquals("second", broker.questions.get(1).token);
  }

  @Test
  void anExpiredTokenSaysWhereToGetANewOne(@TempDir Path dir) throws Exception {
    broker.behave((b, question) -> question.reply(401, "{\"code\":\"unauthenticated\",\"message\":\"the token has\\nexpired\"}"));
    Path file = Files.writeString(dir.resolve("token"), TOKEN);
    LakepassException failure =
        assertThrows(LakepassException.class, () -> client(TokenSource.file(file.toString()), null).ask(null, Duration.ZERO));
    assertTrue(failure.isRefused());
    for (String part : new String[] {"https://login.test", file.toString(), "the token has expired", "401"}) {
      assertTrue(failure.getMessage().contains(part), failure.getMessage());
    }
    assertFalse(failure.getMessage().contains(TOKEN));
  }

  @ParameterizedTest
  @ValueSource(ints = {400, 401, 403, 404, 405, 422, 302})
  void refusals(int status) {
    LakepassException failure = failure(status, "{\"code\":\"x\",\"message\":\"because\"}", "Location", "https://elsewhere.test/");
    assertTrue(failure.isRefused());
    assertTrue(failure.getMessage().contains("because") && failure.getMessage().contains("" + status), failure.getMessage());
    assertEquals(1, broker.questions.size(), "a redirect is not followed");
  }

  @ParameterizedTest
  @ValueSource(ints = {408, 429, 500, 502, 503, 504})
  void whatMayPass(int status) {
    LakepassException failure = failure(status, "<html>not JSON</html>", "Retry-After", "7");
    assertFalse(failure.isRefused());
    assertEquals(Duration.ofSeconds(7), failure.retryAfter());
  }

  @Test
  void problemDocumentsAreUnderstoodToo() {
    assertTrue(failure(403, "{\"title\":\"x\",\"detail\":\"the account is disabled\"}").getMessage().contains("the account is disabled"));
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "", "null", "[]", "<html>", "{\"SecretAccessKey\":\"SECRET-KEY-that-must-not-show\"", "{}",
    "{\"AccessKeyId\":1,\"SecretAccessKey\":\"SECRET-KEY-that-must-not-show\",\"Token\":\"t\",\"Expiration\":\"2030-01-01T00:00:00Z\"}",
    "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET-KEY-that-must-not-show\",\"Token\":\"\",\"Expiration\":\"2030-01-01T00:00:00Z\"}",
    "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET-KEY-that-must-not-show\",\"Token\":\"t\",\"Expiration\":\"soon\"}",
  })
  void garbageIsNoAnswer(String body) {
    assertFalse(failure(200, body).isRefused());
  }

  @Test
  void timesWithAnOffset() throws Exception {
    broker.behave((b, question) -> question.reply(200, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\",\"Token\":\"c\",\"Expiration\":\"2030-01-01T02:00:00.5+02:00\"}"));
    BrokerClient.Fresh fresh = client(TokenSource.literal(TOKEN), null).ask(null, Duration.ZERO).orElseThrow();
    assertEquals(Instant.parse("2030-01-01T00:00:00.5Z"), fresh.keys.expiration());
    assertNull(fresh.tag);
  }

  @Test
  void aBrokerThatHangsIsLeft() {
    broker.behave((b, question) -> Thread.sleep(60_000));
    assertTrue(failure(Duration.ofMillis(500)).getMessage().contains("did not answer"));
  }

  @Test
  void soIsOneThatHangsInTheMiddle() {
    broker.behave((b, question) -> {
      question.exchange.sendResponseHeaders(200, 1000);
      question.exchange.getResponseBody().write("{\"AccessKeyId\":".getBytes(StandardCharsets.UTF_8));
      question.exchange.getResponseBody().flush();
      Thread.sleep(60_000);
    });
    assertTrue(failure(Duration.ofMillis(500)).getMessage().contains("did not answer"));
  }

  @Test
  void aBodyWithoutEndIsNotReadToItsEnd() {
    broker.behave((b, question) -> {
      question.exchange.sendResponseHeaders(200, 0);
      try (OutputStream out = question.exchange.getResponseBody()) {
        for (int i = 0; i < 10_000; i++) {
          out.write(new byte[64 * 1024]);
        }
      }
    });
    String message = failure().getMessage();
    assertTrue(message.contains("too long"), message);
  }

  @Test
  void aBrokerThatIsNotThere() {
    broker.close();
    LakepassException failure = failure();
    assertFalse(failure.isRefused());
    assertTrue(failure.getMessage().contains("ConnectException") || failure.getMessage().contains("refused"), failure.getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", "TOKEN-that-must-not-show\nX: y", "TOKEN-that-must-not-show\u00e9"})
  void whatCannotBeATokenIsNotSentAndNotShown(String text, @TempDir Path dir) throws Exception {
    Path file = Files.writeString(dir.resolve("token"), text);
    LakepassException failure =
        assertThrows(LakepassException.class, () -> client(TokenSource.file(file.toString()), null).ask(null, Duration.ZERO));
    assertTrue(failure.isRefused());
    assertFalse(failure.getMessage().contains("TOKEN-that"), failure.getMessage());
    assertTrue(failure.getMessage().contains(file.toString()), failure.getMessage());
    assertEquals(0, broker.questions.size());
  }

  @Test
  void missingTokensAreNamed() {
    LakepassException file =
        assertThrows(LakepassException.class, () -> client(TokenSource.file("/nowhere/token"), null).ask(null, Duration.ZERO));
    assertTrue(file.getMessage().contains("There is no file /nowhere/token"), file.getMessage());
    LakepassException variable =
        assertThrows(LakepassException.class, () -> client(TokenSource.environment("NO_SUCH_VARIABLE"), null).ask(null, Duration.ZERO));
    assertTrue(variable.getMessage().contains("NO_SUCH_VARIABLE"), variable.getMessage());
  }

  @Test
  void aTokenFromTheEnvironment() throws Exception {
    client(TokenSource.environment("PATH"), null).ask(null, Duration.ZERO);
    assertEquals(System.getenv("PATH"), broker.questions.get(0).token);
  }

  @Test
  void keysShowNoSecret() throws Exception {
    String text = client(TokenSource.literal(TOKEN), null).ask(null, Duration.ZERO).orElseThrow().keys.toString();
    assertFalse(text.contains(FakeBroker.SECRET_KEY) || text.contains(FakeBroker.SESSION_TOKEN), text);
  }
}
