package org.lakepass.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.lakepass.spark.core.Eventually.eventually;
import static org.lakepass.spark.core.Eventually.threads;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.s3a.CredentialInitializationException;
import org.apache.hadoop.security.alias.CredentialProvider;
import org.apache.hadoop.security.alias.CredentialProviderFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.lakepass.spark.core.FakeBroker;
import com.amazonaws.auth.AWSSessionCredentials;

class LakepassCredentialsProviderTest {
  private static final URI LAKE = URI.create("s3a://cdm-lake/users/alice/");

  private final Configuration configuration = new Configuration(false);
  private FakeBroker broker;

  @BeforeEach
  void start() throws IOException {
    broker = new FakeBroker();
    configuration.set("fs.s3a.lakepass.url", broker.url());
    configuration.set("fs.s3a.lakepass.token", "TOKEN-that-must-not-show");
  }

  @AfterEach
  void stop() throws Exception {
    broker.close();
    eventually(Duration.ofSeconds(5), () -> threads() == 0);
  }

  @Test
  void givesSessionKeys() {
    try (LakepassCredentialsProvider provider = new LakepassCredentialsProvider(LAKE, configuration)) {
      AWSSessionCredentials keys = (AWSSessionCredentials) provider.getCredentials();
      assertEquals("KEY1", keys.getAWSAccessKeyId());
      assertEquals(FakeBroker.SECRET_KEY, keys.getAWSSecretKey());
      assertEquals(FakeBroker.SESSION_TOKEN, keys.getSessionToken());
      assertEquals("TOKEN-that-must-not-show", broker.questions.get(0).token);
      assertFalse(provider.toString().contains("that-must-not-show"), provider.toString());
    }
  }

  @Test
  void takesABucketsSettingsFirst() {
    configuration.set("fs.s3a.bucket.cdm-lake.lakepass.token", "lake's");
    try (LakepassCredentialsProvider lake = new LakepassCredentialsProvider(LAKE, configuration);
        LakepassCredentialsProvider other = new LakepassCredentialsProvider(URI.create("s3a://other/"), configuration);
        LakepassCredentialsProvider none = new LakepassCredentialsProvider(null, configuration)) {
      lake.getCredentials();
      assertEquals("lake's", broker.questions.get(0).token);
      other.getCredentials();
      none.getCredentials();
      assertTrue(broker.questions.stream().anyMatch(q -> q.token.equals("TOKEN-that-must-not-show")));
      assertEquals(2, threads(), "the last two share one");
    }
  }

  @Test
  void takesATokenFromACredentialStore(@TempDir Path dir) throws Exception {
    configuration.unset("fs.s3a.lakepass.token");
    configuration.set("hadoop.security.credential.provider.path", "localjceks://file" + dir.resolve("store.jceks"));
    CredentialProvider store = CredentialProviderFactory.getProviders(configuration).get(0);
    store.createCredentialEntry("fs.s3a.lakepass.token", "stored".toCharArray());
    store.flush();
    try (LakepassCredentialsProvider provider = new LakepassCredentialsProvider(LAKE, configuration)) {
      provider.getCredentials();
      assertEquals("stored", broker.questions.get(0).token);
    }
  }

  @Test
  void saysWhatIsMissing() {
    configuration.unset("fs.s3a.lakepass.url");
    String message = assertThrows(IllegalArgumentException.class, () -> new LakepassCredentialsProvider(LAKE, configuration)).getMessage();
    assertTrue(message.contains("fs.s3a.lakepass.url"), message);
  }

  @Test
  void aRefusalIsAnExceptionThatS3aDoesNotRetry() {
    broker.behave((b, question) -> question.reply(401, "{\"message\":\"expired\"}"));
    configuration.set("fs.s3a.lakepass.login.url", "https://login.test");
    try (LakepassCredentialsProvider provider = new LakepassCredentialsProvider(LAKE, configuration)) {
      CredentialInitializationException refusal =
          assertThrows(CredentialInitializationException.class, provider::getCredentials);
      assertTrue(refusal.getMessage().contains("https://login.test"), refusal.getMessage());
      assertFalse(refusal.toString().contains("TOKEN-that"), refusal.toString());
      assertFalse(refusal.isRetryable());
    }
  }

  @Test
  void closingEndsTheThread() throws Exception {
    LakepassCredentialsProvider provider = new LakepassCredentialsProvider(LAKE, configuration);
    provider.getCredentials();
    assertEquals(1, threads());
    provider.close();
    eventually(Duration.ofSeconds(1), () -> threads() == 0);
    assertThrows(CredentialInitializationException.class, provider::getCredentials);
  }
}
